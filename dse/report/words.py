"""Numbers, names and plans as a reader meets them. Names come from files of others: they are text, never markup."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from html import escape
from typing import Any

from dse.model.metrics import METRICS, Metric

SCALED = ("s", "B", "B/s", "FLOP", "FLOP/s", "FLOP/B", "J", "W", "Hz")
"""Units that take SI prefixes; money and tokens are written out."""
UNKNOWN = "not known"
DIE = Metric("die_mm2", "die area", "mm2", -1, "of all dies of all devices, memory stacks not counted")
LONGEST = 80
_WEIGHTS = ("attention_weights", "mlp_weights", "expert_weights")
_LOADS = {"concurrency": "{} users", "batch": "batch {}", "rate": "{} requests/s"}
_FREE_UNITS = {"l2": "B", "link": "B/s", "hbm_rate": "B/s", "clock": "Hz"}
_FREE_WORDS = {"l2": "L2", "hbm": "HBM stacks", "hbm_rate": "HBM", "budget": "token budget"}
_PREFIXES = {18: "E", 15: "P", 12: "T", 9: "G", 6: "M", 3: "k", 0: "", -3: "m", -6: "µ", -9: "n", -12: "p", -15: "f"}


def shorten(text: object, most: int = LONGEST) -> str:
    """A name on one line, cut where it is longer than any real one."""
    if isinstance(text, str) and len(text) <= most and text.isidentifier():      # most names, and there are many
        return text
    line = " ".join(str(text)[: most + 1].split())
    return line if len(line) <= most else line[: most - 1] + "…"


def label(text: object) -> str:
    """A name as Plotly text: Plotly reads tags and entities in every label, so they are escaped."""
    return escape(shorten(text), quote=False)


def quantity(value: Any, unit: str = "") -> str:
    """A number of four digits with its unit: 29.59 ms, 80 GB, 2.71 USD."""
    if value is None:
        return UNKNOWN
    if isinstance(value, bool) or not isinstance(value, int | float):
        return shorten(value)
    if unit in SCALED:
        return _prefixed(float(value), unit)
    digits = f"{value:,.0f}" if 1000 <= abs(value) < 1e15 else f"{value:.4g}"
    return f"{digits} {unit}".strip()


@lru_cache(maxsize=1 << 12)         # a number stands in a figure, over it and in a table
def _prefixed(value: float, unit: str) -> str:
    """Four digits with an SI prefix. A page has a hundred thousand of these: QuantiPhy would take seconds."""
    if value == 0:
        return f"0 {unit}"
    digits, exponent = f"{value:.3e}".split("e")
    power = min(max(int(exponent) // 3 * 3, -15), 18)
    return f"{float(digits) * 10.0 ** (int(exponent) - power):.4g} {_PREFIXES[power]}{unit}"


def share(part: float, whole: float) -> str:
    """A part of a whole in percent."""
    return f"{100 * part / whole:.3g} %" if whole else UNKNOWN


def figure_of(name: str) -> Metric:
    """A metric of the register, or the die area, which belongs to the machine."""
    return DIE if name == DIE.name else METRICS[name]


def figure_value(member: Mapping[str, Any], name: str) -> Any:
    """A plan's value of a metric, or the area of all its dies; None where it is not known."""
    if name != DIE.name:
        return member["metrics"].get(name)
    area, devices = member["system"].get("die_mm2"), member["metrics"].get("gpus")
    return None if area is None or devices is None else area * devices


def metric_title(name: str) -> str:
    """A metric with its unit and direction, for an axis or a column."""
    m = figure_of(name)
    aim = {-1: " (less is better)", 0: "", 1: " (more is better)"}[m.better]
    return f"{m.title}{', ' if m.unit else ''}{m.unit}{aim}"


def metric_value(name: str, metrics: Mapping[str, Any]) -> str:
    """A metric's value in words."""
    return quantity(metrics.get(name), figure_of(name).unit)


def listed(value: Any) -> str:
    """A value, or a list of them, in words."""
    if value is None:
        return "not set"
    if isinstance(value, Mapping):
        return ", ".join(f"{shorten(k)} {listed(v)}" for k, v in value.items())
    if not isinstance(value, Sequence) or isinstance(value, str):
        return quantity(value)
    if len(value) > 8:
        return f"{quantity(value[0])} to {quantity(value[-1])} ({len(value)} values)"
    return ", ".join(quantity(v) for v in value)


def plan_words(document: Mapping[str, Any]) -> str:
    """An evaluated plan in a line: tp 8, pp 1, dp 1, fp8 weights, bf16 KV, 64 users."""
    plan = document["plan"]
    splits = plan["parallelism"]
    words = [f"{name} {quantity(splits[name])}" for name in ("tp", "pp", "dp") if name in splits]
    words += [f"{name} {quantity(splits[name])}" for name in ("ep", "cp") if splits.get(name, 1) != 1]
    words += _format_words(plan["formats"], document["memory"])
    words += [f"{share(part, 1)} of {shorten(name)} in {shorten(tier)}"
              for name, row in plan.get("placement", {}).items() for tier, part in row.items()
              if isinstance(part, int | float) and part]
    words.append(load_words(document["traffic"]))
    free = {name: value for name, value in document.get("free", {}).items()
            if not name.endswith("_offload") and value is not None}     # offloads are in the placement
    words += [f"with {' + '.join(map(shorten, document['techniques']))}"] if document.get("techniques") else []
    words += [f"{_FREE_WORDS.get(name, shorten(name))} {quantity(value, _FREE_UNITS.get(name, ''))}"
              for name, value in (*free.items(), *document.get("knobs", {}).items())]
    return ", ".join(word for word in words if word)


def _format_words(formats: Mapping[str, Any], memory: Mapping[str, Any]) -> list[str]:
    """The formats of the weights that the model has, and of the KV cache."""
    held = {name: _format_name(formats[name]) for name in _WEIGHTS if name in formats and memory.get(name)}
    if len(set(held.values())) == 1:
        words = [f"{next(iter(held.values()))} weights"]
    else:
        words = [f"{value} {name.replace('_', ' ')}" for name, value in held.items()]
    return words + ([f"{_format_name(formats['kv'])} KV"] if "kv" in formats else [])


def _format_name(cell: Any) -> str:
    """A number format; one with forms on top of it says so."""
    if not isinstance(cell, list | Mapping):
        return shorten(cell)
    name = next((item for item in cell if isinstance(item, str)), "") if isinstance(cell, list) else ""
    return f"{shorten(name)} reshaped".strip()


def load_words(traffic: Mapping[str, Any]) -> str:
    """How much traffic there is: 64 users, batch 8 or 3 requests/s."""
    return ", ".join(_load(name, traffic[name]) for name in _LOADS if traffic.get(name) is not None)


def _load(name: str, value: Any) -> str:
    return "1 user" if name == "concurrency" and value == 1 else _LOADS[name].format(listed(value))


def traffic_words(traffic: Mapping[str, Any]) -> str:
    """Lengths and load."""
    words = [f"{listed(traffic[name])} {title}" for name, title in
             (("input_tokens", "prompt tokens"), ("output_tokens", "output tokens")) if traffic.get(name) is not None]
    return ", ".join([*words, *filter(None, [load_words(traffic)])])


def point_words(columns: Sequence[str], row: Sequence[Any]) -> str:
    """A point of the search in a line: the columns that are no metrics; splits of one and what is not offloaded go
    without saying."""
    words = []
    for name, value in zip(columns, row, strict=True):
        silent = (name in ("ep", "cp") and value == 1) or (name.endswith("_offload") and not value) or (
            name == "technique" and value == "none")
        if value is None or silent or (name in METRICS and not (name == "batch" and "concurrency" not in columns)):
            continue
        words.append(_column_words(name, value))
    return ", ".join(words)


def _column_words(name: str, value: Any) -> str:
    if name in _LOADS:
        return _load(name, value)
    if name == "technique":
        return f"with {shorten(value)}"
    if name in ("weights", "kv"):
        return f"{quantity(value)} {'KV' if name == 'kv' else name}"
    if name.endswith("_offload") and isinstance(value, int | float):
        return f"{share(value, 1)} of {shorten(name.removesuffix('_offload'))} in host"
    return f"{shorten(name)} {quantity(value, _FREE_UNITS.get(name, ''))}"

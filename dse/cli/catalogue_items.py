"""The items of the catalogue as `dse catalogue` lists and shows them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from dse.catalogue import hardware, parts, paths
from dse.catalogue.calibration import ENGINES, FOLDER
from dse.catalogue.figures import Source, facts_of
from dse.catalogue.files import read_based, read_toml, validate
from dse.catalogue.models import Published, load_model, model_names, published
from dse.catalogue.processes import PACKAGING, PROCESSES, packaging_facts, process_facts
from dse.catalogue.schema import System
from dse.cli import show
from dse.errors import InputError, nearest
from dse.model.machine import Fact
from dse.model.parameters import active_parameters, cache_elements_per_token, total_parameters


@dataclass(frozen=True, slots=True)
class Shown:
    """A figure: its value in words and, where it is a number, in SI with its range."""

    key: str
    text: str
    source: str
    verified: bool
    note: str = ""
    value: float | str | None = None
    low: float | None = None
    high: float | None = None
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Item:
    """One file of the catalogue. `summary`: its main figures in words, by column; `problem`: why it does not load."""

    name: str
    kind: str
    title: str = ""
    columns: tuple[str, ...] = ()
    summary: Mapping[str, str] = field(default_factory=dict)
    figures: tuple[Shown, ...] = ()
    sources: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    problem: str = ""

    @property
    def unverified(self) -> int:
        """Figures that nobody read in a document."""
        return sum(not figure.verified for figure in self.figures)


_CHIP = {"memory": "memory.capacity", "bandwidth": "memory.bandwidth", "bf16": "peak.bf16", "TDP": "power.tdp"}
_SYSTEM = {"GPUs/node": "gpus_per_node", "host memory": "host.memory_capacity"}
_LINK = {"bandwidth": "bandwidth", "latency": "latency"}
_TIER = {"capacity": "capacity", "bandwidth": "bandwidth"}
_PROCESS = {"wafer": "wafer.price", "defects/cm2": "wafer.defects_per_cm2", "banked mm2/MiB": "sram.banked_mm2_per_mib"}
_PACKAGING = {"reticle": "limits.reticle_mm2", "HBM3e": "cost.hbm3e", "price/cost": "cost.price_over_cost"}
_MODEL = ("parameters", "active", "published", "KV/token", "max context")


def hardware_items() -> list[Item]:
    """Chips, systems, links, tiers, economics, processes, packaging and fitted constants."""
    kinds: tuple[tuple[str, str, Callable[[Path, str], Item]], ...] = (
        ("chip", parts.ACCELERATORS, _chip), ("system", parts.SYSTEMS, _system),
        ("link", parts.LINKS, lambda p, n: _part(p, n, "link", parts.LINKS, _LINK)),
        ("memory tier", parts.TIERS, lambda p, n: _part(p, n, "memory tier", parts.TIERS, _TIER)),
        ("economics", "hardware/economics", _economics),
        ("process", PROCESSES, lambda p, n: _silicon(p, n, "process", process_facts, _PROCESS)),
        ("packaging", PACKAGING, lambda p, n: _silicon(p, n, "packaging", packaging_facts, _PACKAGING)),
        ("constants", FOLDER, lambda p, n: _constants(p, n, "constants")),
        ("engine", ENGINES, lambda p, n: _constants(p, n, "engine")))
    return [_guarded(kind, name, partial(make, paths.find(folder, name), name))
            for kind, folder, make in kinds for name in paths.names(folder)]


def workload_items() -> list[Item]:
    """Models."""
    return [_guarded("model", name, partial(_model, name)) for name in model_names()]


def find_items(name: str) -> list[Item]:
    """The items of a name (a chip and its constants may share one), or of a half of the catalogue."""
    if name in ("hardware", "workloads"):
        return hardware_items() if name == "hardware" else workload_items()
    if name in model_names():
        return [item for item in workload_items() if item.name == name]
    items = hardware_items()
    found = [item for item in items if item.name == name]
    if not found:
        raise InputError("catalogue", f"{name[:80]!r} is not in the catalogue",
                         nearest(name[:64], {*(item.name for item in items), *model_names()}))
    return found


def _guarded(kind: str, name: str, make: Callable[[], Item]) -> Item:
    """The item, or a stand-in that says why it does not load: one bad file does not hide the others."""
    try:
        return make()
    except InputError as problem:
        return Item(name, kind, problem=str(problem))


def _figures(facts: Mapping[str, Fact]) -> tuple[Shown, ...]:
    return tuple(Shown(key, _text(fact), fact.source, fact.verified, fact.note, fact.value, fact.low, fact.high,
                       fact.unit) for key, fact in facts.items())


def _text(fact: Fact) -> str:
    """The value with its unit, and its range where there is one."""
    plain = fact.unit == "" and fact.value < 10000 and float(fact.value).is_integer()
    value = f"{int(fact.value)}" if plain else show.with_prefix(fact.value, fact.unit)
    if fact.low == fact.high:
        return value
    return f"{value} ({show.with_prefix(fact.low, fact.unit)} to {show.with_prefix(fact.high, fact.unit)})"


def _summary(facts: Mapping[str, Fact], columns: Mapping[str, str]) -> dict[str, str]:
    return {column: show.with_prefix(facts[key].value, facts[key].unit) for column, key in columns.items()
            if key in facts}


def _sources(document: Mapping[str, Any]) -> dict[str, tuple[str, str]]:
    """Kind and citation of each source of a file that has loaded."""
    return {name: (source["kind"], source["ref"]) for name, source in document.get("sources", {}).items()}


def _chip(path: Path, name: str) -> Item:
    chip = hardware.load_chip(name)
    document = read_based(path, lambda base, _: paths.find(parts.ACCELERATORS, base))
    return Item(name, "chip", chip.title, tuple(_CHIP), _summary(chip.facts, _CHIP), _figures(chip.facts),
                _sources(document))


def _system(path: Path, name: str) -> Item:
    node, document = hardware.load_node(name), read_toml(path)
    sources = {key: Source(**value) for key, value in document["sources"].items()}
    facts = facts_of(validate(System, document, str(path)), sources, str(path))
    summary = {"chip": node.chip.name, **_summary(facts, _SYSTEM)}
    return Item(name, "system", node.title, ("chip", *_SYSTEM), summary, _figures(facts), _sources(document))


def _part(path: Path, name: str, kind: str, folder: str, columns: Mapping[str, str]) -> Item:
    document, facts = read_toml(path), parts.load_part(folder, name)
    return Item(name, kind, document.get("title", ""), tuple(columns), _summary(facts, columns), _figures(facts),
                _sources(document))


def _economics(path: Path, name: str) -> Item:
    facts = hardware.load_economics(name).facts
    return Item(name, "economics", "what owning costs beside the chip", (), {}, _figures(facts),
                _sources(read_toml(path)))


def _silicon(path: Path, name: str, kind: str, load: Callable[[str], Mapping[str, Fact]],
             columns: Mapping[str, str]) -> Item:
    facts, document = load(name), read_toml(path)
    return Item(name, kind, document["title"], tuple(columns), _summary(facts, columns), _figures(facts),
                _sources(document))


def _constants(path: Path, name: str, kind: str) -> Item:
    """Fitted constants; the file's source is that of each constant that names none."""
    document = read_toml(path)
    source = str(document.get("source", show.UNKNOWN))
    figures = tuple(Shown(key, f"{table['value']}", str(table.get("source", "fit")), True,
                          f"+- {table['error']}" if "error" in table else "", table["value"])
                    for key, table in _leaves(document, ""))
    return Item(name, kind, "fitted", ("date",), {"date": str(document.get("date", ""))}, figures,
                {"fit": ("measured", source)})


def _leaves(table: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for key, value in table.items():
        if isinstance(value, dict) and "value" in value:
            yield prefix + key, value
        elif isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{key}.")


def _model(name: str) -> Item:
    model, facts = load_model(name), published(name)
    total, active, elements = total_parameters(model), active_parameters(model), cache_elements_per_token(model)
    said = "" if facts.total_b is None else f"{facts.total_b:g} B"
    context = "" if model.max_context is None else f"{model.max_context:,}"
    summary = {"parameters": f"{total / 1e9:,.2f} B", "active": f"{active / 1e9:,.2f} B", "published": said,
               "KV/token": f"{elements:,}", "max context": context}
    return Item(name, "model", facts.title, _MODEL, summary, tuple(_model_figures(facts, model.source)),
                {"config": (facts.config_kind, facts.config_source), **(
                    {"published": (facts.kind, facts.published_source)} if facts.total_b is not None else {})})


def _model_figures(facts: Published, source: str) -> Iterator[Shown]:
    """What was taken from elsewhere: the shape, and the published counts; the rest follows."""
    yield Shown("config", facts.source, "config", facts.config_kind != "recalled", facts.notes, source)
    for key, value in (("published_total", facts.total_b), ("published_active", facts.active_b)):
        if value is not None:
            note = f"tolerance {100 * facts.tolerance:g} %" if key == "published_total" else ""
            yield Shown(key, f"{value:g} B parameters", "published", facts.verified, note, value * 1e9, None, None, "")

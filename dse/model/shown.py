"""An evaluation in a notebook: a small page, and a pandas frame. Names come from files of others: all is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from dse.model.metrics import METRICS

if TYPE_CHECKING:
    import pandas as pd

    from dse.model.evaluate import Evaluation

SHOWN = ("ttft_s", "tpot_s", "e2e_s", "output_tok_s", "output_tok_s_per_gpu", "requests_s", "batch", "usd_per_hour",
         "usd_per_mtok", "joule_per_token", "gpus")
LONGEST = 80


def frame(e: Evaluation) -> pd.DataFrame:
    """A row for each plan: splits and traffic that vary, every metric in SI units, each constraint, feasible."""
    import pandas as pd

    columns = {**_varied(e), **e.metrics, **{f"constraint_{name}": v for name, v in e.constraints.items()},
               "feasible": e.feasible}
    held = {name: np.asarray(np.nan if value is None else value) for name, value in columns.items()}
    shape = np.broadcast_shapes(*(value.shape for value in held.values()))
    return pd.DataFrame({name: np.broadcast_to(value, shape).ravel() for name, value in held.items()})


def _varied(e: Evaluation) -> dict[str, Any]:
    """Splits and load; of the traffic and the formats what differs from plan to plan."""
    d, t = e.deployment, e.traffic
    made = {name: getattr(d, name) for name in ("tp", "pp", "dp", "ep", "cp")}
    made |= {name: value for f in fields(d.formats) if f.name != "forms"
             if np.ndim(value := getattr(d.formats, name := f.name))}
    kind, load = t.load
    made |= {f.name: value for f in fields(t) if f.name != kind and np.ndim(value := getattr(t, f.name))}
    return {**made, (kind if kind != "batch" else "batch_asked"): load}


def html(e: Evaluation) -> str:
    """One plan as a table of figures with their intervals; a grid as the range of each figure."""
    sizes = [np.shape(value) for value in (*e.metrics.values(), e.feasible) if value is not None]
    shape = np.broadcast_shapes(*sizes)
    head = f"{e.model.name} on {e.system.name}"
    if shape:
        plans, met = int(np.prod(shape)), int(np.broadcast_to(e.feasible, shape).sum())
        return page(head, f"{plans:,} plans, {met:,} feasible", ("", "least", "most"), list(_ranges(e)))
    over = ", ".join(name for name, excess in e.constraints.items() if not float(excess) <= 0)
    splits = ", ".join(f"{name} {float(getattr(e.deployment, name)):g}" for name in ("tp", "pp", "dp", "ep", "cp"))
    return page(head, f"{splits}; {'feasible' if not over else 'INFEASIBLE: ' + over}",
                ("", "predicted", "80 % interval"), list(_single(e)))


def _single(e: Evaluation) -> Iterator[tuple[str, str, str]]:
    ends = e.intervals
    for name in SHOWN:
        m, value = METRICS[name], e.metrics[name]
        between = " to ".join(figure(v, m.unit) for v in ends[name]) if name in ends else ""
        yield m.title, figure(value, m.unit), between


def _ranges(e: Evaluation) -> Iterator[tuple[str, str, str]]:
    for name in SHOWN:
        value = e.metrics[name]
        held = np.asarray(np.nan if value is None else value, dtype=float)
        finite = held[np.isfinite(held)]
        low, high = (finite.min(), finite.max()) if finite.size else (None, None)
        yield METRICS[name].title, figure(low, METRICS[name].unit), figure(high, METRICS[name].unit)


def figure(value: Any, unit: str) -> str:
    """A number of four digits with its unit; times below a second in ms."""
    if value is None or not np.isfinite(float(value)):
        return "unknown"
    number = float(value)
    if unit == "s" and abs(number) < 1:
        return f"{number * 1e3:.4g} ms"
    digits = f"{number:,.0f}" if 1000 <= abs(number) < 1e15 else f"{number:.4g}"
    return f"{digits} {unit}".strip()


def page(head: str, line: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A heading, a line and a table as HTML, every text escaped and short."""
    top = "".join(f"<th>{_text(c)}</th>" for c in columns)
    body = "".join("<tr>" + "".join(f"<td>{_text(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return (f"<div><b>{_text(head)}</b><br>{_text(line)}<table><thead><tr>{top}</tr></thead>"
            f"<tbody>{body}</tbody></table></div>")


def _text(value: object) -> str:
    text = str(value)
    return escape(text if len(text) <= LONGEST else text[: LONGEST - 1] + "…")


def plain_row(document: Mapping[str, Any]) -> dict[str, Any]:
    """An evaluation document as one flat row: splits, load, what the search chose, metrics."""
    splits = {name: document["plan"]["parallelism"].get(name) for name in ("tp", "pp", "dp", "ep", "cp")}
    formats = {name: value if isinstance(value, str) else "reshaped"
               for name, value in (("weights", document["plan"]["formats"].get("mlp_weights")),
                                   ("kv", document["plan"]["formats"].get("kv")))}
    load = {name: document["traffic"][name] for name in ("concurrency", "rate") if name in document["traffic"]}
    chosen = {**document.get("free", {}), **document.get("knobs", {})}
    named = {"technique": "+".join(document["techniques"])} if document.get("techniques") else {}
    return {"hardware": document["system"]["name"], **splits, **formats, **load, **named, **chosen,
            **document["metrics"]}

"""A result made of plans that were asked for, not searched: what `dse evaluate` and `dse compare` draw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dse import __version__
from dse.model.metrics import METRICS
from dse.report.schema import SCHEMA

Document = dict[str, Any]
_OBJECTIVES = ("usd_per_mtok", "tpot_s", "ttft_s")


def plans_result(documents: Sequence[Mapping[str, Any]], command: str, title: str = "") -> Document:
    """The result whose front is these evaluation documents, in their order; the cheapest that fits is chosen."""
    members = [{"free": {}, **document, "id": i} for i, document in enumerate(documents)]
    known = [n for n in _OBJECTIVES if any(m["metrics"].get(n) is not None for m in members)] or ["output_tok_s"]
    search = {"model": _all(m["model"]["name"] for m in members),
              "hardware": _all(m["system"]["name"] for m in members),
              "engine": _all(m["system"]["engine"] for m in members), "traffic": _traffic(members),
              "objectives": known[:2], "limits": {}, "command": command, **({"title": title} if title else {})}
    return {"schema": SCHEMA, "version": __version__, "search": search,
            "counts": {"considered": 0, "feasible": 0, "rejected": {}}, "front": members,
            "chosen": min(members, key=lambda m: _rank(m, known[0]))["id"]}


def _rank(member: Document, objective: str) -> tuple[bool, bool, float]:
    """Feasible plans first, then those with a value, then the best."""
    value = member["metrics"].get(objective)
    return not member["feasible"], value is None, -METRICS[objective].better * (value or 0.0)


def _all(names: Any) -> str:
    return ", ".join(dict.fromkeys(str(n) for n in names))


def _traffic(members: Sequence[Document]) -> Document:
    """Each cell of the traffic: one value, or a list of those that occur."""
    cells: dict[str, list[Any]] = {}
    for member in members:
        for name, value in member["traffic"].items():
            if value not in cells.setdefault(name, []):
                cells[name].append(value)
    return {name: values[0] if len(values) == 1 else values for name, values in cells.items()}

"""Traffic as the command line asks for it: options, a trace that fills in what they leave open, both in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dse.cli import parse, show
from dse.errors import InputError
from dse.model.document import plain
from dse.plan.cells import check_cell
from dse.plan.traffic import LOADS, Traffic

if TYPE_CHECKING:
    from dse.catalogue.traces import Lengths, Trace

Axes = Mapping[str, tuple[parse.Value, ...]]
LENGTHS = {"input_tokens": "prompt tokens of a request", "output_tokens": "output tokens of a request"}
ONLY_FOR = {"waves": "concurrency", "arrival_cv2": "rate", "peak_to_mean": "rate",
            **dict.fromkeys(parse.TARGETS, "rate")}
"""Options that say something about one kind of load only."""
MOST_CHECKED_CV2 = 8.0
"""The laws of the open loop were held against simulations up to this variability of arrivals."""


@dataclass(frozen=True, slots=True)
class Source:
    """A trace behind the traffic: its file, what it holds, and the cells it set."""

    file: str
    trace: Trace
    cells: tuple[str, ...]


def with_trace(axes: Axes, file: str) -> tuple[Axes, Source]:
    """The axes with what a trace says of lengths and arrivals wherever no option says it."""
    from dse.catalogue.traces import load_trace  # pandas loads when it is used

    trace = load_trace(Path(file))
    found = {"input_tokens": float(max(round(trace.prompt.mean), 1)), "input_cv2": trace.prompt.cv2,
             "output_tokens": float(max(round(trace.output.mean), 1)), "output_cv2": trace.output.cv2}
    if not any(name in axes for name in LOADS):
        found["rate"] = trace.rate
    if "rate" in {**axes, **found}:
        found["arrival_cv2"] = trace.arrival_cv2
    taken = {name: value for name, value in found.items() if name not in axes}
    for name, value in taken.items():
        try:
            check_cell(value, parse.RULES[name], name)
        except InputError as error:
            raise InputError(f"{file}: {name}", error.message, f"{parse.option(name)} overrides the trace") from None
    return {**axes, **{name: (value,) for name, value in taken.items()}}, Source(file, trace, tuple(taken))


def check_traffic(axes: Axes, source: Source | None = None) -> None:
    """Refuse traffic that is incomplete, and options that would change nothing."""
    loads = [name for name in LOADS if name in axes]
    if len(loads) != 1:
        found = " and ".join(parse.option(name) for name in loads) or "none"
        raise InputError("traffic", f"got {found}, expected exactly one of --batch (sequences always decoding on each "
                         "replica), --concurrency (users of the deployment) and --rate (requests/s)")
    for name, words in LENGTHS.items():
        if name not in axes:
            raise InputError(parse.option(name), f"is missing, expected {words}", "--trace FILE gives both lengths")
    for name, load in ONLY_FOR.items():
        if name in axes and load not in axes:
            got = "the trace's rate" if source and loads[0] in source.cells else parse.option(loads[0])
            raise InputError(parse.option(name), f"changes nothing with {got}, expected {parse.option(load)}")
    given = [name for name in parse.TARGETS if name in axes]
    if len(given) == 1:
        other = next(name for name in parse.TARGETS if name not in axes)
        raise InputError(parse.option(other), f"is missing, expected beside {parse.option(given[0])}",
                         "goodput counts requests within both targets")


def traffic_of(choice: Mapping[str, parse.Value]) -> Traffic:
    """The traffic of one row of a table."""
    cells: dict[str, Any] = {name: choice[name] for name in parse.TRAFFIC if name in choice}
    targets = {cell: float(choice[name]) / 1e3 for name, cell in parse.TARGETS.items() if name in choice}
    return Traffic(**cells, **targets)


def in_words(t: Traffic) -> str:
    """Lengths and how requests come."""
    cached = f", {show.percent(t.prefix_hit)} of each prompt cached" if float(t.prefix_hit) else ""
    lengths = f"{_length(t.input_tokens, t.input_cv2, ' tokens in')}, {_length(t.output_tokens, t.output_cv2, ' out')}"
    return f"{lengths}{cached}; {_load(t)}"


def _length(tokens: Any, cv2: Any, what: str) -> str:
    return f"{show.significant(tokens)}{what}" + (f" (cv2 {float(cv2):.3g})" if float(cv2) else "")


def _load(t: Traffic) -> str:
    kind, amount = t.load
    count = show.significant(amount)
    if kind == "batch":
        return f"{count} sequences always decoding on each replica"
    if kind == "rate":
        peak = f" on average, {show.significant(t.peak_rate)} at the peak" if float(t.peak_to_mean) != 1 else ""
        return f"open loop at {count} requests/s{peak}, arrival cv2 {float(t.arrival_cv2):.4g}"
    users = f"closed loop of {count} user{'' if amount == 1 else 's'}"
    if t.waves is None:
        return f"{users}, steady"
    return f"{users}, {show.significant(t.waves)} request{'' if t.waves == 1 else 's'} each, all starting together"


def remarks(traffics: list[Traffic], source: Source | None) -> list[tuple[str, str]]:
    """Where the traffic comes from, and what about it nobody checked."""
    rows = [] if source is None else [("trace", _trace_in_words(source))]
    most = max((float(t.arrival_cv2) for t in traffics if t.rate is not None), default=0.0)
    if most > MOST_CHECKED_CV2:
        rows.append(("note", f"arrival cv2 {most:.4g} is outside what was checked: the waiting laws were compared with "
                     f"simulations up to {MOST_CHECKED_CV2:g}"))
    return rows


def _trace_in_words(source: Source) -> str:
    trace = source.trace
    count = sum(d.count for d in trace.dropped)
    why = "; ".join(f"{d.count:,} {d.reason}, line {d.line} first" for d in trace.dropped)
    gave = ", ".join(name.replace("_", " ") for name in source.cells) or "nothing: options say it all"
    return (f"{source.file}: {trace.requests:,} rows used, {count:,} dropped" + (f" ({why})" if why else "")
            + f"; gave {gave}")


def trace_document(source: Source) -> dict[str, Any]:
    """What was read of a trace, as plain values."""
    trace = source.trace
    return {
        "file": source.file, "requests": trace.requests, "cells": list(source.cells),
        "prompt": _lengths_document(trace.prompt), "output": _lengths_document(trace.output),
        "rate": plain(trace.rate), "arrival_cv2": plain(trace.arrival_cv2), "overall_cv2": plain(trace.overall_cv2),
        "dropped": [{"reason": d.reason, "count": d.count, "line": d.line} for d in trace.dropped],
    }


def _lengths_document(lengths: Lengths) -> dict[str, Any]:
    return {"mean": plain(lengths.mean), "cv2": plain(lengths.cv2),
            "quantiles": [plain(value) for value in lengths.quantiles]}

"""The page of published claims: verdicts, the curves behind them, the region of the unknowns, figures of the files."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from math import isnan
from pathlib import Path
from typing import Any

from dse import __version__
from dse.report.page import assets, environment, own_file, packed
from dse.report.panel import Cell, Table, number
from dse.report.style import BLUE, GREY, ORANGE, VERMILION, Figure, axis, layout
from dse.report.words import label, quantity, share, shorten
from dse.studies import equations, quantities
from dse.studies.drawings import Drawn, drawn
from dse.studies.judge import Curve, Outcome
from dse.studies.reproduce import Joint, Verdicts
from dse.studies.study import VERDICTS, Study
from dse.whole_file import write_whole

_COLOURS = {"technique": BLUE, "against": ORANGE}
_FADED = {"technique": "rgba(0,114,178,0.2)", "against": "rgba(230,159,0,0.2)"}
_LONGEST = 400


@dataclass(frozen=True, slots=True)
class StudyPanel:
    """The section of one study; `captions` has the words of each figure by its key."""

    key: str
    title: str
    text: str
    figures: Mapping[str, Figure] = field(default_factory=dict)
    captions: Mapping[str, str] = field(default_factory=dict)
    tables: tuple[Table, ...] = ()


def write_studies(found: Sequence[Verdicts], path: Path) -> None:
    """Write the page, whole or not at all."""
    write_whole(path, render(found).encode("utf-8", "replace"))


def render(found: Sequence[Verdicts]) -> str:
    """The page as text."""
    panels = [_panel(v, f"study-{i}") for i, v in enumerate(found)]
    outcomes = [o for v in found for o in v.outcomes]
    wrong = sum(not o.agrees for o in outcomes)
    held = assets()
    return environment().from_string(own_file("study.html.j2")).render(
        title="Published claims against the model" if len(found) != 1 else shorten(found[0].study.title),
        answer="Every verdict is the one that its file records." if not wrong else
        f"{wrong} of {len(outcomes)} verdicts differ from those that the files record.",
        cards=[("studies", quantity(len(found))), ("claims", quantity(len(outcomes))),
               *((name, quantity(sum(o.verdict == name for o in outcomes))) for name in VERDICTS)],
        panels=panels, version=__version__,
        data=packed({"figures": {k: f for p in panels for k, f in p.figures.items()}}),
        style=held.style, plotly=held.plotly, script=held.script, policy=held.policy)


def _panel(v: Verdicts, key: str) -> StudyPanel:
    figures: dict[str, Figure] = {}
    captions: dict[str, str] = {}
    for number_, (words, figure) in enumerate(_figures(v)):
        name = f"{key}-{number_}"
        figures[name], captions[name] = figure, words
    tables = tuple(t for t in (_verdicts(v), _equations(v.study), _unknowns(v), _joints(v), _calibrations(v)) if t.rows)
    return StudyPanel(key, shorten(v.study.title, 120), shorten(v.study.source, _LONGEST), figures, captions, tables)


def _verdicts(v: Verdicts) -> Table:
    head = ("verdict", "claim", "claimed", "predicted", "where", "remarks")
    return Table("Verdicts", head, tuple(tuple(_row(v.study, o)) for o in v.outcomes))


def _row(study: Study, o: Outcome) -> Iterator[Cell]:
    c = o.claim
    yield Cell(o.verdict + ("" if o.verdict == c.verdict else f" (the file records {c.verdict or 'nothing'})"))
    yield Cell(shorten(c.words, _LONGEST))
    yield Cell("") if c.out_of_model else _span(c.value, c.unit)
    yield Cell("") if o.predicted is None else _span(o.predicted, c.unit)
    yield Cell(_region(study, o))
    closed = [f"closed form of {n} within {share(max(e, 0.0), 1)}" for n, e in o.closed.items()]
    remarks = [o.reason, "given in the file, not evidence" if c.given else "", *closed, c.note]
    yield Cell(shorten("; ".join(filter(None, remarks)), _LONGEST))


def _region(study: Study, o: Outcome) -> str:
    """The named setting, and the range of each unknown inside."""
    if not o.region or not o.point:
        return _values(study, o.places)
    reach = "; ".join(f"{shorten(n)} {_range(*r, study.free[n].unit)}" for n, r in o.region.items())
    return f"{_values(study, {**o.point, **o.places})} (inside for {share(o.share, 1)} of settings: {reach})"


def _values(study: Study, values: Mapping[str, Any]) -> str:
    return ", ".join(f"{shorten(n)} {quantity(value, study.free[n].unit)}" for n, value in values.items())


def _span(pair: tuple[float, float], unit: str) -> Cell:
    low, high = pair
    return number(low, unit) if high - low <= 1e-6 * abs(high) else Cell(_range(low, high, unit))


def _range(low: Any, high: Any, unit: str) -> str:
    return quantity(low, unit) if low == high else f"{quantity(low, unit)} to {quantity(high, unit)}"


def _equations(study: Study) -> Table:
    """The registered equations of the file and of its claims, as formulas."""
    names = dict.fromkeys((*study.equations, *(c.equation for c in study.claims if c.equation)))
    found = [equations.find(name, study.file) for name in names]
    return Table("Equations", ("meaning", "formula", "source"), tuple(
        (Cell(e.meaning), Cell(equations.formula(e)), Cell(shorten(e.source, _LONGEST))) for e in found))


def _unknowns(v: Verdicts) -> Table:
    rows = tuple((Cell(n), Cell(_range(k.axis()[0].item(), k.axis()[-1].item(), k.unit)),
                  Cell(shorten(k.why, _LONGEST))) for n, k in v.study.unknown.items())
    return Table("Unknowns", ("name", "range", "why"), rows)


def _joints(v: Verdicts) -> Table:
    return Table("Claims that one setting of the unknowns has to serve", ("claims", "settings inside", "of", "such as"),
                 tuple(_joint(v.study, j) for j in v.joint))


def _joint(study: Study, j: Joint) -> tuple[Cell, ...]:
    return (Cell(shorten("; ".join(j.claims), _LONGEST)), number(j.inside), number(j.settings),
            Cell(_values(study, j.point) or "none"))


def _calibrations(v: Verdicts) -> Table:
    rows = []
    for c in v.calibrations:
        aimed = "" if c.aimed is None else quantity(c.aimed, quantities.quantity(c.metric, "").unit)
        rows.append((Cell(c.name), Cell(_range(c.low, c.high, "")), Cell(c.metric), Cell(aimed),
                     Cell(shorten(c.why, _LONGEST))))
    return Table("Calibrations: numbers made to fit", ("name", "value", "from", "made to be", "why"), tuple(rows))


def _figures(v: Verdicts) -> Iterator[tuple[str, Figure]]:
    """Words and figure of every swept claim, then the figures that the file declares."""
    for o in v.outcomes:
        for knob in dict.fromkeys(c.knob for c in o.curves):
            chosen = [c for c in o.curves if c.knob == knob]
            yield shorten(f"{o.verdict}: {o.claim.words}", _LONGEST), _curve_figure(v.study, o, knob, chosen)
    for d in drawn(v.study):
        yield shorten(d.drawing.title, _LONGEST), _drawn_figure(v.study, d)


def _curve_figure(study: Study, o: Outcome, knob: str, curves: Sequence[Curve]) -> Figure:
    """Both sides over a knob: a line where the unknowns are as the verdict names them, in a band over all of them."""
    traces = [trace for c in curves for trace in _band(c)]
    unit = study.free[knob].unit
    q = quantities.quantity(o.claim.metric, o.claim.where)
    ys = [y for c in curves for line in (c.low, c.high) for y in line if not isnan(y)]
    title = label(f"{q.title}{', ' + q.unit if q.unit else ''}")
    made = layout(_axis(knob, unit, curves[0].x), axis(title, q.unit, ys))
    if o.claim.of == knob and o.claim.quantity in ("argmax", "argmin", "crossover"):
        made["shapes"] = [_mark(x) for x in dict.fromkeys(o.claim.value)]
    return {"data": traces, "layout": made}


def _band(c: Curve) -> Iterator[dict[str, Any]]:
    low, high, at = ([None if isnan(y) else y for y in line] for line in (c.low, c.high, c.at))
    name, plain = label(c.side), {"type": "scatter", "mode": "lines", "x": c.x, "legendgroup": c.side}
    if low != high:
        edge = {**plain, "line": {"color": _COLOURS[c.side], "width": 0.5}, "hoverinfo": "skip"}
        yield {**edge, "y": low, "showlegend": False}
        yield {**edge, "y": high, "name": f"{name}, over the unknowns", "fill": "tonexty", "fillcolor": _FADED[c.side]}
    yield {**plain, "y": at, "name": name, "line": {"color": _COLOURS[c.side], "width": 2.5}}


def _mark(x: float) -> dict[str, Any]:
    """An upright line at the claimed place."""
    return {"type": "line", "xref": "x", "x0": x, "x1": x, "yref": "paper", "y0": 0, "y1": 1,
            "line": {"color": VERMILION, "width": 1.5, "dash": "dash"}, "label": {"text": "claimed"}}


def _axis(name: str, unit: str, values: Sequence[Any]) -> dict[str, Any]:
    words = label(f"{name}{', ' + unit if unit else ''}")
    if any(isinstance(v, str) for v in values):
        return {"title": {"text": words}, "type": "category", "automargin": True}
    return axis(words, unit, values)


def _drawn_figure(study: Study, d: Drawn) -> Figure:
    x = _axis(d.drawing.of, study.free[d.drawing.of].unit, d.x)
    title = "technique / against" if d.drawing.side == "ratio" else d.drawing.side
    if d.drawing.equation:
        words = label(equations.find(d.drawing.equation, d.drawing.where).meaning)
    else:
        words = label(f"{quantities.quantity(d.drawing.metric, d.drawing.where).title}, {title}")
    if d.y:
        y = _axis(d.drawing.over, study.free[d.drawing.over].unit, d.y)
        shown = {"type": "heatmap", "x": d.x, "y": d.y, "z": d.lines["map"], "colorscale": "Cividis",
                 "colorbar": {"title": {"text": words, "side": "right"}}}
        return {"data": [shown], "layout": layout(x, y)}
    traces = [{"type": "scatter", "mode": "lines", "x": d.x, "y": line, "name": label(name),
               "line": {"color": _COLOURS.get(name, GREY), "width": 2}} for name, line in d.lines.items()]
    values = [v for line in d.lines.values() for v in line if v is not None]
    return {"data": traces, "layout": layout(x, axis(words, d.unit, values))}

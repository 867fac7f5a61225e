"""`dse reproduce`: published claims against the model, one verdict each."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import RenderableType
from rich.text import Text

from dse.cli import show
from dse.cli.progress import Bar
from dse.errors import InputError

if TYPE_CHECKING:
    from dse.studies.judge import Outcome
    from dse.studies.reproduce import Joint, Verdicts
    from dse.studies.study import Study

DISAGREES = 5
_ZEROS = re.compile(r"(?:(\.\d*[1-9])|\.)0+(?=\s|$)")
"""Zeros at the end of a fraction."""


def reproduce(
    studies: Annotated[list[str] | None, typer.Argument(
        metavar="[NAME]...", help="Studies by name or file; without one, all of the catalogue.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Exactly one JSON document.")] = False,
    report: Annotated[Path | None, typer.Option("--report", metavar="FILE", help="Write a page with figures (HTML).")]
    = None,
) -> None:
    """Predict every published claim of the studies, and compare the verdicts with those that the files record.

    Without a name it prints a line for each study. Exits with 5 where a verdict differs from the recorded one.
    """
    from dse.studies.files import load_study, study_names
    from dse.studies.reproduce import document
    from dse.studies.reproduce import reproduce as judged

    chosen = studies or study_names()
    if not chosen:
        raise InputError("studies/systems", "holds no study, expected one file for each system")
    names, found = list(dict.fromkeys(chosen)), []
    with Bar("judging studies") as bar:
        for done, name in enumerate(names, 1):
            found.append(judged(load_study(name)))
            bar(done, len(names))
    if report is not None:
        from dse.report.study import write_studies  # templates and Plotly load when they are used

        write_studies(found, report)
    if as_json:
        show.print_json(document(found))
    else:
        show.print_page(_page(found, report, detailed=bool(studies)))
    if not all(v.agrees for v in found):
        raise typer.Exit(DISAGREES)


def _page(found: Sequence[Verdicts], report: Path | None, detailed: bool) -> Iterator[RenderableType]:
    """Every claim of the studies that were named; of all of them a line each."""
    for v in found if detailed else ():
        yield from _study(v)
    if len(found) > 1:
        yield from _table(found)
    yield show.heading(_counts(found))
    if not detailed:
        yield Text("dse reproduce NAME shows its claims, unknowns and settings; --report FILE draws them", style="dim")
    wrong = [(v, o) for v in found for o in v.outcomes if not o.agrees]
    for v, o in wrong:
        what = f"{o.verdict}, the file records {o.claim.verdict or 'nothing'}" if o.verdict != o.claim.verdict else \
            "a closed form misses the enumerated best by more than 0.1 %"
        yield Text(f"{v.study.name}: {o.claim.words}: {what}", style="bold red")
    if report is not None:
        yield Text(f"wrote {report}")


def _table(found: Sequence[Verdicts]) -> Iterator[RenderableType]:
    from dse.studies.study import VERDICTS

    yield show.heading("Studies")
    heads = (name.lower().split("-")[0] for name in VERDICTS)
    counts = {v.study.name: [sum(o.verdict == name for o in v.outcomes) for name in VERDICTS] for v in found}
    yield show.table(("study", "claims", *heads), [
        (name, str(sum(row)), *(str(n or "") for n in row)) for name, row in counts.items()])


def _counts(found: Sequence[Verdicts]) -> str:
    from dse.studies.study import VERDICTS

    outcomes = [o for v in found for o in v.outcomes]
    parts = [f"{sum(o.verdict == name for o in outcomes)} {name}" for name in VERDICTS]
    given = sum(o.claim.given for o in outcomes)
    rest = f"; {given} of them given, not evidence" if given else ""
    return f"{len(outcomes)} claims of {len(found)} studies: " + ", ".join(parts) + rest


def _study(v: Verdicts) -> Iterator[RenderableType]:
    yield show.heading(f"{v.study.title} ({v.study.name})")
    yield Text(v.study.source, style="dim")
    yield show.pairs((o.verdict, "\n".join(_lines(v.study, o))) for o in v.outcomes)
    rows = [("jointly", _jointly(v.study, j)) for j in v.joint]
    rows += [("calibrated", text) for text in calibrated(v)]
    rows += [("unknown", f"{name} {_range(knob.axis()[0].item(), knob.axis()[-1].item(), knob.unit)}: {knob.why}")
             for name, knob in v.study.unknown.items()]
    if rows:
        yield show.pairs(rows)


def _lines(study: Study, o: Outcome) -> Iterator[str]:
    """A claim, what the model says, and what a reader needs to believe the verdict."""
    c = o.claim
    yield c.words
    if not c.out_of_model:
        predicted = show.UNKNOWN if o.predicted is None else _range(*o.predicted, c.unit)
        yield f"  claimed {_range(*c.value, c.unit)}, predicted {predicted}"
    for line in _details(study, o):
        yield f"  {line}"


def _details(study: Study, o: Outcome) -> Iterator[str]:
    from dse.studies.study import ATTAINABLE

    if o.verdict != o.claim.verdict:
        yield f"! the file records {o.claim.verdict or 'no verdict'}"
    if o.claim.given:
        yield "given: the file carries the answer"
    if o.reason:
        yield o.reason
    if o.verdict == ATTAINABLE:
        yield f"at {in_words(study, o.point)}"
        reach = ", ".join(f"{n} {_range(low, high, study.free[n].unit)}" for n, (low, high) in o.region.items()
                          if (low, high) != _whole(study, n))
        yield f"inside for {show.percent(o.share)} of settings: {reach or 'all of every range'}"
    if o.places:
        yield f"best {in_words(study, o.places)}"
    for name, excess in o.closed.items():
        yield f"closed form of {name}: {show.percent(max(excess, 0.0))} off the enumerated best"
    if o.claim.note:
        yield o.claim.note


def _jointly(study: Study, j: Joint) -> str:
    text = f"{len(j.claims)} claims at {j.inside} of {j.settings} settings of the unknowns"
    if j.point:
        text += f", such as {in_words(study, j.point)}"
    never = [f"'{a}' and '{b}'" for a, b, n in j.pairs if not n]
    if j.pairs:
        text += f"; {len(j.pairs) - len(never)} of {len(j.pairs)} pairs go together"
    return text + (", but not " + ", nor ".join(never) if never else "")


def _whole(study: Study, name: str) -> tuple[Any, Any]:
    """Both ends of an unknown's range."""
    axis = study.free[name].axis()
    return axis[0].item(), axis[-1].item()


def calibrated(v: Verdicts) -> Iterator[str]:
    """Each derived number, with what it was made to fit."""
    from dse.studies.quantities import quantity

    for c in v.calibrations:
        text = f"{c.name} = {_range(c.low, c.high, '')}"
        if c.aimed is not None:
            aimed = _figure(c.aimed, quantity(c.metric, "").unit)
            text += f", solved so that {c.metric} is {aimed} (misses by {show.percent(c.missed)})"
        elif c.metric:
            text += f", from {c.metric}"
        yield text + (f": {c.why}" if c.why else "")


def in_words(study: Study, values: Mapping[str, Any]) -> str:
    """Names with their values and units."""
    return ", ".join(f"{name} {_figure(value, study.free[name].unit)}" for name, value in values.items())


def _range(low: Any, high: Any, unit: str) -> str:
    if isinstance(low, str) or high - low <= 1e-6 * abs(high):
        return _figure(low, unit) if low == high or not isinstance(low, str) else f"{low} .. {high}"
    return f"{_figure(low, unit)} .. {_figure(high, unit)}"


def _figure(value: Any, unit: str) -> str:
    return value if isinstance(value, str) else _ZEROS.sub(r"\1", show.with_prefix(value, unit))

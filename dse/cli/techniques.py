"""`dse techniques`: every technique of the catalogue, its knobs, and the verdicts that its study records."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from dse.cli import show

if TYPE_CHECKING:
    from dse.plan.technique import Knob
    from dse.studies.study import Study

SCHEMA = "dse.techniques/1"
_SHOWN = 8


def techniques(
    as_json: Annotated[bool, typer.Option("--json", help="Exactly one JSON document.")] = False,
) -> None:
    """List the techniques: name, title, source, knobs with ranges and defaults, recorded verdicts."""
    from dse.studies.files import load_study, study_names

    found = [load_study(name) for name in study_names()]
    if as_json:
        show.print_json({"schema": SCHEMA, "techniques": [_document(study) for study in found]})
        return
    if not found:
        show.print_page([Text("studies/systems holds no technique")])
    for study in found:
        knobs = [(f"  {name}", _knob(knob)) for name, knob in study.technique.knobs.items()]
        show.print_page([Text(f"{study.name}: {study.title}", style="bold"), show.pairs([
            ("  source", study.source), *knobs, ("  verdicts", _verdicts(study))])])


def _knob(knob: Knob) -> str:
    default = knob.default if isinstance(knob.default, str) else show.with_prefix(knob.default, knob.unit)
    axis = knob.axis()
    if knob.values:
        more = ", ..." if len(axis) > _SHOWN else ""
        return f"{', '.join(_figure(v, knob.unit) for v in axis.tolist()[:_SHOWN])}{more} (default {default})"
    return f"{_figure(knob.low, knob.unit)} .. {_figure(knob.high, knob.unit)} (default {default})"


def _figure(value: Any, unit: str) -> str:
    return value if isinstance(value, str) else show.with_prefix(value, unit)


def _verdicts(study: Study) -> str:
    return ", ".join(f"{n} {name}" for name, n in _recorded(study).items()) or "no claims"


def _recorded(study: Study) -> dict[str, int]:
    return dict(Counter(claim.verdict or "not recorded" for claim in study.claims))


def _document(study: Study) -> dict[str, Any]:
    knobs = [{"name": k.name, "low": k.axis()[0].item(), "high": k.axis()[-1].item(), "points": len(k.axis()),
              "values": list(k.values) or None, "unit": k.unit, "default": k.default,
              "closed": None if k.closed is None else k.closed.text} for k in study.technique.knobs.values()]
    return {"name": study.name, "title": study.title, "source": study.source, "file": study.file, "knobs": knobs,
            "fields": sorted(study.technique.fields), "verdicts": _recorded(study)}

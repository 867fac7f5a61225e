"""`dse compare`: two techniques or plans side by side."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import RenderableType
from rich.text import Text

from dse.cli import parse, show
from dse.cli.report import write_plans
from dse.errors import InputError
from dse.model.evaluate import PHASES
from dse.plan.traffic import LOADS

if TYPE_CHECKING:
    from dse.studies.study import Study

INFEASIBLE = 3
_ROWS = 12
"""Differences that a table shows; the document has all."""
_MACHINE, _LOAD, _SPLITS = "Machine", "Requests", "Splits"
_TEXT = str | None


def compare(
    a: Annotated[str, typer.Argument(metavar="A", help="A technique by name, 'none', or a file: technique, study or "
                                                       "plan.")],
    b: Annotated[str, typer.Argument(metavar="B", help="What to hold against it.")],
    model: Annotated[_TEXT, typer.Argument(help="Catalogue name or config.json; without it what B's or A's study was "
                                                "published with.")] = None,
    hardware: Annotated[_TEXT, typer.Option(help="Chip or system.", rich_help_panel=_MACHINE)] = None,
    engine: Annotated[_TEXT, typer.Option(help="Serving engine.", rich_help_panel=_MACHINE)] = None,
    gpus: Annotated[_TEXT, typer.Option(help="Devices.", rich_help_panel=_MACHINE)] = None,
    tp: Annotated[_TEXT, typer.Option(help="Tensor parallelism.", rich_help_panel=_SPLITS)] = None,
    pp: Annotated[_TEXT, typer.Option(help="Pipeline parallelism.", rich_help_panel=_SPLITS)] = None,
    ep: Annotated[_TEXT, typer.Option(help="Expert parallelism.", rich_help_panel=_SPLITS)] = None,
    batch: Annotated[_TEXT, typer.Option(help="Sequences each replica decodes.", rich_help_panel=_LOAD)] = None,
    concurrency: Annotated[_TEXT, typer.Option(help="Users who ask again.", rich_help_panel=_LOAD)] = None,
    rate: Annotated[_TEXT, typer.Option(help="Requests per second.", rich_help_panel=_LOAD)] = None,
    input_tokens: Annotated[_TEXT, typer.Option(help="Prompt tokens.", rich_help_panel=_LOAD)] = None,
    output_tokens: Annotated[_TEXT, typer.Option(help="Output tokens.", rich_help_panel=_LOAD)] = None,
    knobs: Annotated[list[str] | None, typer.Option("--knob", metavar="NAME=VALUE", help="A knob or unknown of either "
                                                    "side; may be repeated.")] = None,
    metric: Annotated[str, typer.Option("--for", metavar="METRIC", help="What optimal knobs are best for.")] = "tpot_s",
    report: Annotated[Path | None, typer.Option(metavar="FILE", help="HTML page to write.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Exactly one JSON document.")] = False,
) -> None:
    """Show two techniques or plans on one model, machine and traffic: what changed, where seconds and bytes went."""
    from dse.studies import compare as sides
    from dse.studies.files import load_technique

    given = {"gpus": gpus, "tp": tp, "pp": pp, "ep": ep, "batch": batch, "concurrency": concurrency, "rate": rate,
             "input_tokens": input_tokens, "output_tokens": output_tokens}
    cells = {name: parse.item(text, parse.option(name), parse.RULES[name])
             for name, text in given.items() if text is not None}
    techniques = [load_technique(name) for name in (a, b)]
    home = None if model is not None else _home(a, b)
    study = sides.configuration(_published(home, model, hardware, engine, cells), home)
    settings = parse.assignments(knobs or (), "--knob", "such as split=0.5")
    sides.check_knobs(settings, study, *techniques)
    left, right = (sides.compared(study, technique, settings, metric) for technique in techniques)
    document = sides.document(left, right)
    if report is not None:
        write_plans([sides.evaluated(side) for side in (left, right)], report,
                    f"{left.technique.name} and {right.technique.name}", document)
    if as_json:
        show.print_json(document)
    else:
        show.print_page(_page(document))
    if not (left.evaluation.feasible and right.evaluation.feasible):
        raise typer.Exit(INFEASIBLE)


def _home(*names: str) -> Study | None:
    """The study whose published configuration stands in for a model that is not given: B's, else A's."""
    from dse.catalogue.files import read_toml
    from dse.studies.files import load_study, study_file

    for name in reversed(names):
        if name != "none":
            path = study_file(name)
            if read_toml(path).get("kind") == "study":
                study = load_study(path)
                if "model" in study.published:
                    return study
    raise InputError("MODEL", "is missing, expected a model: no side is a study with a configuration of its own")


def _published(home: Study | None, model: str | None, hardware: str | None, engine: str | None,
               cells: Mapping[str, parse.Value]) -> dict[str, Any]:
    """The configuration that both sides share."""
    made: dict[str, Any] = {} if home is None else dict(home.published)
    if model is not None:
        made["model"] = model
    if hardware is not None:
        made = {**{k: v for k, v in made.items() if k != "device"}, "hardware": hardware}
    if engine is not None:
        made["engine"] = engine
    if "hardware" not in made:
        raise InputError("--hardware", "is missing, expected a chip or system of the catalogue")
    traffic = dict(made.get("traffic", {}))
    loads = [name for name in LOADS if name in cells]
    if loads:
        traffic = {k: v for k, v in traffic.items() if k not in LOADS}
    traffic |= {k: cells[k] for k in (*loads, "input_tokens", "output_tokens") if k in cells}
    splits = {k: cells[k] for k in ("tp", "pp", "ep") if k in cells}
    plan = dict(made.get("plan", {}))
    if splits:
        plan["parallelism"] = {**plan.get("parallelism", {}), **splits}
    gpus = {"gpus": cells["gpus"]} if "gpus" in cells else {}
    return {**made, "traffic": traffic, "plan": plan, **gpus}


def _page(d: Mapping[str, Any]) -> Iterator[RenderableType]:
    names = [side["name"] for side in d["sides"]]
    yield Text(f"{names[0]} and {names[1]}: {d['model']} on {d['hardware']}", style="bold")
    yield show.pairs([*((side["name"], _side(side)) for side in d["sides"]),
                      ("traffic", ", ".join(f"{k} {show.significant(v)}" for k, v in d["traffic"].items() if v))])
    if d["changed"]:
        yield show.heading("What changed in the plan")
        yield show.table(("cell", *names), [(c["cell"], _cell(c["a"]), _cell(c["b"])) for c in d["changed"]])
    yield show.heading("Metrics")
    yield show.table(("", *names, "change"), [_metric(m) for m in d["metrics"]])
    for phase in PHASES:
        rows = [r for r in d["seconds"] if r["phase"] == phase]
        yield show.heading(f"Where the seconds went: {phase}" + ("" if rows else ": no difference"))
        if rows:
            yield show.table(("operation", "resource", *names, "difference"), [
                (r["op"], r["resource"], show.seconds(r["a"]), show.seconds(r["b"]), _signed(r["difference"], "s"))
                for r in rows[:_ROWS]], left=2)
    yield show.heading("Where the bytes went" + ("" if d["bytes"] else ": no difference"))
    if d["bytes"]:
        yield show.table(("memory", "object", *names, "difference"), [
            (r["place"], r["object"], show.with_prefix(r["a"], "B"), show.with_prefix(r["b"], "B"),
             _signed(r["difference"], "B")) for r in d["bytes"][:_ROWS]], left=2)


def _side(side: Mapping[str, Any]) -> str:
    parts = [f"{k} {v if isinstance(v, str) else show.with_prefix(v, side['units'][k])}"
             for k, v in side["values"].items()]
    if not side["feasible"]:
        over = {k: v for k, v in side["constraints"].items() if v is None or v > 0}
        parts.append("INFEASIBLE: " + ", ".join(f"{k} by {show.percent(v) if v is not None else '?'}"
                                                for k, v in over.items()))
    return "; ".join([side["title"] or "a plan", *parts])


def _cell(value: Any) -> str:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return show.significant(value)
    return "-" if value is None else str(value)[:120]


def _metric(m: Mapping[str, Any]) -> tuple[str, str, str, str]:
    a, b = (show.with_prefix(m[side], m["unit"]) for side in ("a", "b"))
    moved = m["change"]
    change = "" if moved is None else f"{100 * moved:+.1f} %" if abs(moved) >= 5e-4 else "="
    return m["title"], a, b, change


def _signed(value: float, unit: str) -> str:
    """A difference with its sign, in the unit that suits its size."""
    return ("+" if value > 0 else "-") + show.with_prefix(abs(value), unit)

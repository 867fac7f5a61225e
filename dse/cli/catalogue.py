"""`dse catalogue list|show|check`: what is known, where from, and whether it holds together."""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.console import RenderableType
from rich.text import Text

from dse.catalogue.checks import Finding, disagreements, hardware_checks, workload_checks
from dse.cli import show
from dse.cli.catalogue_items import Item, find_items, hardware_items, workload_items
from dse.errors import CheckFailedError

LIST_SCHEMA, SHOW_SCHEMA, CHECK_SCHEMA = (f"dse.catalogue.{what}/1" for what in ("list", "show", "check"))


class Section(StrEnum):
    """The two halves of the catalogue."""

    HARDWARE = "hardware"
    WORKLOADS = "workloads"


catalogue = typer.Typer(add_completion=False, no_args_is_help=False,
                        help="List, show and check the catalogue of hardware and models.")
_Section = Annotated[Section | None, typer.Argument(help="Only one half of the catalogue.")]
_Json = Annotated[bool, typer.Option("--json", help="One JSON document.")]


@catalogue.command("list")
def list_items(section: _Section = None, as_json: _Json = False) -> None:
    """What is there: each item with its main figures, and how many figures nobody verified."""
    items = [*(hardware_items() if section != Section.WORKLOADS else ()),
             *(workload_items() if section != Section.HARDWARE else ())]
    if as_json:
        show.print_json({"schema": LIST_SCHEMA, "items": [_listed(item) for item in items]})
    else:
        show.print_page(_list_page(items))


@catalogue.command("show")
def show_item(
    name: Annotated[str, typer.Argument(help="A name of the catalogue, or a whole half: hardware, workloads.")],
    as_json: _Json = False,
) -> None:
    """Every figure of an item with its unit, range and source."""
    items = find_items(name)
    if as_json:
        show.print_json({"schema": SHOW_SCHEMA, "items": [_shown(item) for item in items]})
    else:
        show.print_page(part for item in items for part in _item_page(item))


@catalogue.command("check")
def check(section: _Section = None, as_json: _Json = False) -> None:
    """Recompute what can be derived and list what disagrees; exits with 5 if anything does."""
    findings = [*(hardware_checks() if section != Section.WORKLOADS else ()),
                *(workload_checks() if section != Section.HARDWARE else ())]
    wrong = disagreements(findings)
    if as_json:
        show.print_json({"schema": CHECK_SCHEMA, "checks": len(findings), "disagree": len(wrong), "findings": [
            {"item": f.item, "check": f.check, "expected": f.expected, "found": f.found, "agrees": f.agrees,
             "claimed": f.claimed}
            for f in findings]})
        if wrong:
            raise typer.Exit(CheckFailedError.code)
        return
    kinds: dict[str, int] = {}
    for finding in findings:
        kind = "both ways" if finding.check.endswith("both_ways") else finding.check
        kinds[kind] = kinds.get(kind, 0) + 1
    lines: list[RenderableType] = [Text(f"{len(findings)} checks: " + ", ".join(f"{n} {k}" for k, n in kinds.items()))]
    lines += [Text(_compared(f)) for f in findings if f.shown and f.agrees]
    lines += [Text(f"{f.item}: {f.check}: found {f.found}, expected {f.expected}") for f in wrong]
    show.print_page([*lines, Text(f"{len(wrong)} disagree" if wrong else "all agree")])
    if wrong:
        raise typer.Exit(CheckFailedError.code)


def _compared(f: Finding) -> str:
    """A derived figure beside the real one."""
    real = f"expected {f.expected}" if f.claimed else f"real {f.expected} (for comparison)"
    return f"{f.item.rpartition('/')[2]}: {f.check}: derived {f.found}, {real}"


def _list_page(items: list[Item]) -> Iterator[RenderableType]:
    for kind in dict.fromkeys(item.kind for item in items):
        members = [item for item in items if item.kind == kind]
        columns = members[0].columns
        yield show.heading(f"{kind} ({len(members)})")
        rows = [(item.name, *(item.summary.get(c, "") for c in columns), str(len(item.figures)), str(item.unverified))
                for item in members]
        made = show.table(("name", *columns, "figures", "unver."), rows)
        made.padding = (0, 1, 0, 0)
        yield made
    figures, doubtful = sum(len(item.figures) for item in items), sum(item.unverified for item in items)
    yield Text(f"\n{len(items)} items, {figures} figures, {doubtful} of them unverified (recalled or assumed); "
               "dse catalogue show NAME lists each with its source")
    for item in items:
        if item.problem:
            yield Text(f"{item.kind} {item.name} does not load: {item.problem}", style="red")


def _item_page(item: Item) -> Iterator[RenderableType]:
    yield show.heading(f"{item.name} ({item.kind}): {item.title}")
    if item.problem:
        yield Text(f"does not load: {item.problem}", style="red")
        return
    rows = [(f.key, f.text, f"{f.source}{'' if f.verified else ' (unverified)'}{': ' + f.note if f.note else ''}")
            for f in item.figures]
    made = show.table(("figure", "value", "source: note"), rows, left=3)
    made.columns[0].no_wrap = True
    yield made
    if item.sources:
        yield Text("sources", style="dim")
        yield show.pairs((name, f"{kind}: {ref}") for name, (kind, ref) in item.sources.items())


def _listed(item: Item) -> dict[str, Any]:
    return {"name": item.name, "kind": item.kind, "title": item.title, "figures": len(item.figures),
            "unverified": item.unverified, "problem": item.problem or None, "summary": dict(item.summary)}


def _shown(item: Item) -> dict[str, Any]:
    figures = [{"key": f.key, "value": f.value, "low": f.low, "high": f.high, "unit": f.unit, "source": f.source,
                "note": f.note, "verified": f.verified} for f in item.figures]
    return {**_listed(item), "figures": figures,
            "sources": {name: {"kind": kind, "ref": ref} for name, (kind, ref) in item.sources.items()}}

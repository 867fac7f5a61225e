"""Running a search that was asked for, whether options or a file asked: one path for `dse search` and `dse study`."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import typer

from dse.catalogue.quantity import quantity
from dse.cli.progress import Bar
from dse.cli.search_asked import Asked, make_search
from dse.cli.search_page import nothing_feasible, search_page
from dse.cli.show import print_json, print_page
from dse.errors import InputError, NothingFeasibleError
from dse.search.answers import answers
from dse.search.files import STUDY, write_result, write_search, writing
from dse.search.grid import Miss
from dse.search.result import Request, front_table, result_document
from dse.search.samplers import check_sampler
from dse.search.space import Space
from dse.search.storage import check_storage, without_password
from dse.search.structures import space_of
from dse.search.study import Outcome, Settings, explore
from dse.search.undefined import undefined_words
from dse.search.views import views
from dse.studies.search_writer import repetition, search_text

INTERRUPTED = 130


@dataclass(frozen=True, slots=True)
class Output:
    """Where a result goes: a folder, a page, and stdout as text or as JSON."""

    out: Path | None = None
    report: Path | None = None
    as_json: bool = False


def run_search(asked: Asked, output: Output) -> None:
    """Search, then write and print what was asked for."""
    spaces, aim = make_search(asked)
    settings = settings_of(asked, output.out, spaces)
    request = Request(aim, settings, _command(), asked.get("title"), asked.get("question"))
    text = search_text(asked)
    with nullcontext() if output.out is None else writing(output.out, text):
        with Bar() as bar:
            outcome = explore(spaces, aim, settings, bar, partial(make_search, asked))
        if not len(outcome.front):
            raise _nothing(spaces, outcome)
        result = result_document(spaces, request, outcome)
        result |= {"notes": [*result["notes"], *_notes(spaces, outcome, asked, output.out)],
                   "repeat": repetition(asked, text, request.command)}
        result["answers"] = answers(spaces, aim, outcome, asked)
        if output.out is not None or output.report is not None:
            result |= views(spaces, aim, outcome, asked)
        if output.out is not None:
            write_result(output.out, result, front_table(spaces, outcome))
            write_search(output.out, text)
    if output.report is not None:
        from dse.report.page import write_report  # templates and figures load when they are used

        write_report(result, output.report, None if output.out is None else str(output.out))
    if output.as_json:
        print_json(result)
    else:
        print_page(search_page(result, [str(path) for path in (output.out, output.report) if path is not None]))
    if outcome.interrupted:
        raise typer.Exit(INTERRUPTED)


def _nothing(spaces: Sequence[Space], outcome: Outcome) -> BaseException:
    """Why there is no front: nothing was finished, nothing meets the limits, or the model gives no value."""
    if outcome.interrupted and not outcome.considered:
        return KeyboardInterrupt()
    lacking = outcome.rejected.get("finite", 0)
    if lacking < max(outcome.rejected.values(), default=1) or outcome.undefined is None:
        return nothing_feasible(spaces, outcome)
    return NothingFeasibleError("search", f"none of {outcome.considered:,} plans is feasible; most ({lacking:,}) lack "
                                f"an objective: {_undefined(spaces, outcome.undefined)}",
                                "leave that objective or that technique out")


def _undefined(spaces: Sequence[Space], miss: Miss) -> str:
    return undefined_words(space_of(spaces, miss.point, 0), miss)


def _notes(spaces: Sequence[Space], outcome: Outcome, asked: Asked, out: Path | None) -> Iterator[str]:
    """What to know beside the figures: plans without a value, and how an interrupted search goes on."""
    lacking = outcome.rejected.get("finite", 0)
    if lacking:
        example = "" if outcome.undefined is None else f": {_undefined(spaces, outcome.undefined)}"
        yield f"{lacking:,} plans lack an objective{example}"
    if outcome.interrupted and out is not None:
        yield f"to go on: dse study resume {shlex.quote(str(out))}"
    elif outcome.interrupted and asked.get("storage"):
        yield "to go on: the same command again"


def _memory(asked: Asked) -> float:
    size = quantity(asked["memory"], "B", "--memory")
    if size < 1 << 20:
        raise InputError("--memory", f"{asked['memory']!r} is too little, expected at least 1 MiB")
    return float(size)


def settings_of(asked: Asked, out: Path | None, spaces: Sequence[Space]) -> Settings:
    """How to search, checked before any work."""
    made = Settings(int(asked["trials"]), int(asked["seed"]), trials_at(asked, out, spaces),
                    study_name(asked, spaces), _memory(asked), asked["sampler"], int(asked["workers"]))
    check_storage(made.storage)
    check_sampler(made.sampler)
    return made


def trials_at(asked: Asked, out: Path | None, spaces: Sequence[Space]) -> str | None:
    """Where the trials are kept: in the storage asked for, or in the result's folder; None for in memory."""
    storage: str | None = asked.get("storage")
    sampled = any(space.sampled for space in spaces)
    return str(out / STUDY) if storage is None and out is not None and sampled else storage


def study_name(asked: Asked, spaces: Sequence[Space]) -> str:
    """The name of the study in its storage."""
    chips = ", ".join(space.system.name for space in spaces)
    name: str = asked.get("study") or f"{spaces[0].model.name} on {chips}"
    return name


def _command() -> str:
    """The command as it was typed, without passwords."""
    return without_password(shlex.join(["dse", *sys.argv[1:]]))

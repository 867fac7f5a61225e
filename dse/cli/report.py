"""`dse report`: the page of a search; and the page of plans that another command evaluated."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from dse.errors import InputError

PAGE = "report.html"


def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder that `dse search --out` wrote.")],
    output: Annotated[Path | None, typer.Option("-o", "--output", metavar="FILE", help="HTML file to write; without "
                                                f"it {PAGE} in the folder.")] = None,
) -> None:
    """Write one self-contained HTML page: the front, one variable at a time, and of each plan where time, memory and
    money go.
    """
    from dse.report.page import read_result, write_report  # templates and schemas load when they are used

    result, path = read_result(folder), folder / PAGE if output is None else output
    if path.resolve() == (folder / "result.json").resolve():
        raise InputError(str(path), "is the result itself, expected another file", "try -o report.html")
    write_report(result, path, str(folder))
    typer.echo(f"wrote {path} ({path.stat().st_size / 1e6:.1f} MB)")


def write_plans(documents: Sequence[Mapping[str, Any]], path: Path, title: str = "",
                compared: Mapping[str, Any] | None = None) -> None:
    """The page of evaluated plans, with what `dse compare` says of them."""
    from dse.report.page import write_report
    from dse.report.plans import plans_result

    result = plans_result(documents, shlex.join(["dse", *sys.argv[1:]]), title)
    write_report({**result, **({} if compared is None else {"compared": dict(compared)})}, path)

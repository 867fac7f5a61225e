"""`dse report`: the page of a search."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dse.errors import InputError


def report(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder that `dse search --out` wrote.")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="FILE", help="HTML file to write.")],
) -> None:
    """Write one self-contained HTML page: front, waterfall, roofline, memory, throughput against latency."""
    from dse.report.page import read_result, write_report  # templates and schemas load when they are used

    result = read_result(folder)
    if output.resolve() == (folder / "result.json").resolve():
        raise InputError(str(output), "is the result itself, expected another file", "try -o report.html")
    write_report(result, output)
    typer.echo(f"wrote {output} ({output.stat().st_size / 1e6:.1f} MB)")

"""Options that every command has. --quiet: no page and no progress; errors, files, the exit code and a --json document
remain. --json, where a command has none of its own: the lines that it prints, in one document.
"""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from contextvars import ContextVar
from typing import Annotated, Any

import typer

SCHEMA = "dse.lines/1"
QUIET: ContextVar[bool] = ContextVar("quiet", default=False)
"""Whether the command that runs was asked to be quiet; a progress bar reads it."""


def with_common(command: Any) -> Any:
    """The command, or each subcommand of a group, with the options; one that has its own keeps it."""
    children = getattr(command, "commands", {})
    for child in children.values():
        with_common(child)
    if not children:
        held = {option for parameter in command.params for option in parameter.opts}
        quiet, as_json = (p for p in _options() if p.name in ("quiet", "lines_as_json"))
        if "--json" not in held:
            command.params.append(as_json)
            command.callback = _in_json(command.callback, command.name)
        if "--quiet" not in held:
            command.params.append(quiet)
            command.callback = _hushed(command.callback)
    return command


def _options() -> list[Any]:
    """The options as Typer makes them."""
    app = typer.Typer(add_completion=False)
    app.command()(_takes)
    made: list[Any] = typer.main.get_command(app).params
    return made


def _takes(
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing but errors, and what --json asks for.")] = False,
    lines_as_json: Annotated[bool, typer.Option("--json", help="Exactly one JSON document.")] = False,
) -> None:
    """Stands for any command."""


def _hushed(function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*, quiet: bool = False, **values: Any) -> Any:
        """The command, its page going nowhere where it is to be quiet."""
        if not quiet:
            return function(**values)
        before = QUIET.set(True)
        try:
            if values.get("as_json") or values.get("lines_as_json"):
                return function(**values)
            with open(os.devnull, "w", encoding="utf-8") as nowhere, redirect_stdout(nowhere):
                return function(**values)
        finally:
            QUIET.reset(before)

    return call


def _in_json(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    def call(*, lines_as_json: bool = False, **values: Any) -> Any:
        """The command, what it prints becoming one document; an error has a document of its own."""
        if not lines_as_json:
            return function(**values)
        printed, code = io.StringIO(), 0
        with redirect_stdout(printed):
            try:
                function(**values)
            except typer.Exit as leaving:
                code = leaving.exit_code
        document = {"schema": SCHEMA, "command": name, "lines": printed.getvalue().splitlines()}
        sys.stdout.write(json.dumps(document, indent=2) + "\n")
        if code:
            raise typer.Exit(code)
        return None

    return call

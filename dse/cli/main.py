"""The console entry point: commands that load when they are used, and errors of one line with an exit code."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Annotated, Any, NamedTuple

import typer
from typer.core import TyperCommand, TyperGroup

from dse import __version__
from dse.cli.every_command import with_common
from dse.errors import DseError, EnvironmentProblem, InputError, nearest

INTERRUPTED = 130
ERROR_SCHEMA = "dse.error/1"
COMPLETE = "_DSE_COMPLETE"
"""Set by a shell's script that asks for completions."""


class Entry(NamedTuple):
    """A command: the module and name of its function (or of a Typer app with subcommands), and its line of help."""

    module: str
    attribute: str
    help: str


COMMANDS = {
    "evaluate": Entry("dse.cli.evaluate", "evaluate", "Predict one plan, or a table of plans."),
    "search": Entry("dse.cli.search", "search", "Find the best plans, and the best machine for them."),
    "study": Entry("dse.cli.study", "study", "Run, resume, show and check searches kept as files."),
    "report": Entry("dse.cli.report", "report", "Draw results as a page."),
    "validate": Entry("dse.cli.validate", "validate", "Compare predictions with measurements."),
    "calibrate": Entry("dse.cli.calibrate", "calibrate", "Fit kernel constants to measurements."),
    "measure": Entry("dse.cli.measure", "measure", "Measure the device at hand, for calibrate."),
    "reproduce": Entry("dse.cli.reproduce", "reproduce", "Predict published claims, and judge each."),
    "compare": Entry("dse.cli.compare", "compare", "Two plans or techniques side by side."),
    "export": Entry("dse.cli.export", "export", "The command that launches a plan on a serving engine."),
    "sensitivity": Entry("dse.cli.sensitivity", "sensitivity", "What resources are worth, and how sure figures are."),
    "explain": Entry("dse.cli.equations", "explain", "The equations, and how a metric follows from them."),
    "whatif": Entry("dse.cli.whatif", "whatif", "How much of one thing a target needs."),
    "techniques": Entry("dse.cli.techniques", "techniques", "List the techniques and their knobs."),
    "catalogue": Entry("dse.cli.catalogue", "catalogue", "List, show and check the catalogue of hardware and models."),
    "doctor": Entry("dse.cli.doctor", "doctor", "What is installed, and which data were found."),
}


class LazyGroup(TyperGroup):
    """Shows the table's commands in its help, and imports one only when it is called."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Names in the order of the table."""
        return list(self.commands)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that `args` name, loaded."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, load(name) if command is not None and name in COMMANDS else command, rest


def load(name: str) -> Any:
    """The command of that name, ready to run."""
    entry = COMMANDS[name]
    made = getattr(import_module(entry.module), entry.attribute)
    if isinstance(made, typer.Typer):
        return _finished(typer.main.get_command(made))
    alone = typer.Typer(add_completion=False)
    alone.command(name)(made)
    return _finished(typer.main.get_command(alone))


def _finished(command: Any) -> Any:
    """The command with what all have: --quiet and --json, and names for a shell that asks for completions."""
    command = with_common(command)
    if COMPLETE not in os.environ:
        return command
    from dse.cli.completion import attach

    return attach(command)


def root() -> Any:
    """The command `dse` with a stand-in for each entry of the table."""
    app = typer.Typer(cls=LazyGroup, invoke_without_command=True)
    app.callback()(_start)
    group = typer.main.get_command(app)
    assert isinstance(group, LazyGroup)
    for name, entry in COMMANDS.items():
        group.add_command(TyperCommand(name, help=entry.help))
    return group


def _start(
    ctx: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    """Analytical cost model and design-space explorer for serving large language models."""
    if version:
        sys.stdout.write(f"dse {__version__}\n")
        raise typer.Exit
    if ctx.invoked_subcommand is None:
        sys.stdout.write(ctx.get_help() + "\n")


def run(args: Sequence[str]) -> int:
    """Run the command line `args` and return its exit code; whatever goes wrong becomes one line."""
    try:
        code = invoke(args)
        sys.stdout.flush()
        return code
    except BrokenPipeError:     # the reader of our output has seen enough
        _silence_stdout()
        return 0
    except KeyboardInterrupt:
        return _failed(DseError("", "interrupted"), INTERRUPTED, args)
    except DseError as error:
        return _failed(error, error.code, args)
    except typer.TyperException as error:
        return _failed(_usage(error), InputError.code, args)
    except Exception as error:
        return _unforeseen(error, args)


def invoke(args: Sequence[str]) -> int:
    """Run the command line `args` and return its exit code; what goes wrong is raised."""
    command = root()
    try:
        with command.make_context("dse", list(args)) as ctx:
            command.invoke(ctx)
    except typer.Exit as leaving:
        return leaving.exit_code
    except typer.Abort:
        raise KeyboardInterrupt from None
    return 0


def _usage(error: Exception) -> InputError:
    """Typer's complaint about options as one of ours, with the nearest name."""
    ctx, option = getattr(error, "ctx", None), getattr(error, "option_name", None)
    where = "dse" if ctx is None else ctx.command_path
    message = " ".join(str(getattr(error, "format_message", error.__str__)()).split()).removesuffix(".")
    if option is None or ctx is None:
        return InputError(where, message, "" if "Did you mean" in message else f"see {where} --help")
    known = [name for parameter in ctx.command.get_params(ctx) for name in parameter.opts if name.startswith("-")]
    close = nearest(option, known)
    hint = close if close.startswith("did you mean") else f"see {where} --help"
    return InputError(where, message.split(" (Possible")[0].split(" Did you mean")[0], hint)


def _unforeseen(error: Exception, args: Sequence[str]) -> int:
    """The environment's faults are told as such; anything else is a fault of ours."""
    if os.environ.get("DSE_DEBUG") == "1":
        import traceback

        traceback.print_exc()
    if isinstance(error, ModuleNotFoundError):
        problem: DseError = EnvironmentProblem(
            "", f"the package {error.name!r} is missing", "install it, or the extra of dse that needs it")
    elif isinstance(error, MemoryError):
        problem = EnvironmentProblem("", "not enough memory", "ask for fewer plans at once")
    elif isinstance(error, OSError):
        problem = EnvironmentProblem(str(error.filename or "output"), error.strerror or str(error))
    else:
        problem = DseError("internal error", f"{type(error).__name__}: {error}", "DSE_DEBUG=1 shows where")
    return _failed(problem, problem.code, args)


def _failed(error: DseError, code: int, args: Sequence[str]) -> int:
    """Say an error: one line on stderr, and with --json the document on stdout."""
    line = str(error) if error.where.startswith("dse") else f"dse: {error}"
    sys.stderr.write(_printable(line) + "\n")
    if "--json" in args:
        document = {"schema": ERROR_SCHEMA, "error": {**error.document(), "code": code}}
        try:
            sys.stdout.write(json.dumps(document, indent=2) + "\n")
            sys.stdout.flush()
        except OSError:
            _silence_stdout()
    elif isinstance(error, EnvironmentProblem):
        _silence_stdout()       # what could not be written is not tried again at exit
    return code


def _printable(text: str) -> str:
    """Text without line breaks or control characters, which a name or a file may hold."""
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def _silence_stdout() -> None:
    """Let what is still buffered go nowhere, so that the interpreter's last flush is quiet."""
    try:
        descriptor = sys.stdout.fileno()
    except (OSError, ValueError):
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)


def main() -> None:
    """What the command `dse` runs."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")      # a name in another encoding is no reason to fail
    if COMPLETE in os.environ:
        from dse.cli.completion import complete

        sys.exit(complete(root))
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()

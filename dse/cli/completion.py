"""Completion of catalogue names in a shell. Loads when a shell asks, and reads the names of files, not the files."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from dse.catalogue.paths import names
from dse.errors import DseError

VARIABLE = "_DSE_COMPLETE"
"""Set by the shell's script where it asks for completions instead of running a command."""
Names = Callable[[], Iterable[str]]


def _models() -> list[str]:
    return names("workloads/models", "/config.json")


def _hardware() -> list[str]:
    return sorted({*names("hardware/accelerators"), *names("hardware/systems")})


def _searches() -> list[str]:
    return names("studies/searches")


def _studies() -> list[str]:
    return names("studies/systems")


def _engines() -> list[str]:
    return names("hardware/calibration/engines")


def _metrics() -> list[str]:
    from dse.model.metrics import METRICS

    return list(METRICS)


def _variables() -> list[str]:
    from dse.search.whatif import VARIABLES

    return list(VARIABLES)


def _explained() -> list[str]:
    from dse.equations.registry import registered

    return [*registered(), *_metrics()]


def _weights() -> tuple[str, ...]:
    from dse.plan.formats import WEIGHTS

    return WEIGHTS


def _kv() -> tuple[str, ...]:
    from dse.plan.formats import KV

    return KV


def _items() -> list[str]:
    folders = ("accelerators", "systems", "links", "tiers", "processes", "packaging", "economics", "calibration")
    return sorted({"hardware", "workloads", *_models(), *(n for f in folders for n in names(f"hardware/{f}"))})


_PARAMETERS: Mapping[str, Names] = {
    "model": _models, "hardware": _hardware, "engine": _engines, "technique": _studies, "studies": _studies,
    "a": lambda: ["none", *_studies()], "b": lambda: ["none", *_studies()], "objective": _metrics, "metric": _metrics,
    "weights": _weights, "kv": _kv, "vary": _variables, "cost": lambda: ("owned", "rented"),
}
"""What a parameter of any command takes, by the parameter's name."""
_OWN: Mapping[tuple[str, str], Names] = {
    ("search", "model"): lambda: sorted({*_models(), *_searches()}), ("show", "name"): _items,
    ("explain", "name"): _explained, ("export", "engine"): lambda: names("hardware/engines"),
    ("run", "file"): _searches, ("check", "file"): _searches,
}
"""The same for one command's parameter, which wins."""


def complete(root: Callable[[], Any]) -> int:
    """Answer the shell; whatever goes wrong, it gets no names and no message into its line."""
    from typer._completion_classes import completion_init
    from typer.completion import shell_complete

    completion_init()
    try:
        return shell_complete(root(), {}, "dse", VARIABLE, os.environ[VARIABLE])
    except Exception:
        return 1


def attach(command: Any) -> Any:
    """Give the parameters of a command, and of its subcommands, the names that they take."""
    for child in getattr(command, "commands", {}).values():
        attach(child)
    for parameter in command.params:
        found = _OWN.get((command.name, parameter.name)) or _PARAMETERS.get(parameter.name)
        if found is not None:
            parameter._custom_shell_complete = _completer(found)
    return command


def _completer(found: Names) -> Callable[[Any, Any, str], list[str]]:
    def complete_name(ctx: Any, parameter: Any, incomplete: str) -> list[str]:
        """Names that go on from what is typed; of a comma list its last item."""
        before, comma, last = incomplete.rpartition(",")
        try:
            known = list(found())
        except DseError:
            return []
        return [f"{before}{comma}{name}" for name in known if name.startswith(last)]

    return complete_name

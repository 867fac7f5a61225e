"""`dse doctor`: what is installed, which data were found, what is missing and what it is for."""

from __future__ import annotations

import os
import platform
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import RenderableType
from rich.text import Text

from dse import __version__
from dse.cli import show
from dse.errors import DseError, EnvironmentProblem

SCHEMA = "dse.doctor/1"
EXTRAS = {
    "hub": ("huggingface_hub", "models straight from the hub: hf:ORG/NAME"),
    "postgresql": ("psycopg", "one search on many machines: --storage postgresql://..."),
    "validate": ("aiconfigurator_core", "dse validate and dse calibrate: tables of measurements"),
    "measure": ("torch", "dse measure: kernels of the device at hand"),
    "gp": ("torch", "dse search --sampler gp"),
    "cmaes": ("cmaes", "dse search --sampler cmaes"),
}
"""Extras of the package: the module that shows it is there, and what it is for."""
PROGRAMS = {
    "chromium": (("chromium", "chromium-browser", "google-chrome"), "tests of the page in a browser"),
    "postgresql": (("postgres",), "tests of a search on many machines"),
}
_POSTGRESQL = Path("/usr/lib/postgresql")
"""Where Debian keeps the server, which is on nobody's path."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked for. found: version, place or count, empty where it is not there; essential: without
    it nothing works; problem: what is wrong with it.
    """

    group: str
    name: str
    found: str
    purpose: str = ""
    essential: bool = False
    problem: str = ""

    @property
    def broken(self) -> bool:
        """Whether a command that everybody needs would fail."""
        return self.essential and (not self.found or bool(self.problem))


def doctor(
    quiet: Annotated[bool, typer.Option("--quiet", help="Only what is wrong.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Exactly one JSON document.")] = False,
) -> None:
    """Say what is installed, which data were found, which extras are missing and what they are for.

    Exits with 6 where something is broken that everything needs; a missing extra is no fault.
    """
    checks = [*_packages(), *_extras(), *_programs(), *_data()]
    broken = [c for c in checks if c.broken]
    if as_json:
        show.print_json({"schema": SCHEMA, "version": __version__, "healthy": not broken,
                         "checks": [{**asdict(c), "broken": c.broken} for c in checks]})
    elif quiet:
        for c in checks:        # whole lines, for a script to read
            if c.problem or c.broken:
                typer.echo(_problem(c))
    else:
        show.print_page(_page(checks))
    if broken:
        raise typer.Exit(EnvironmentProblem.code)


def _packages() -> Iterator[Check]:
    yield Check("installed", "python", platform.python_version(), essential=True)
    yield Check("installed", "dse", __version__, essential=True)
    try:
        needed = [line for line in requires("dse") or [] if "extra ==" not in line]
    except PackageNotFoundError:
        needed = []
    for name in sorted({_name(line) for line in needed}):
        yield Check("installed", name, _version(name), "needed by every command", essential=True)


def _name(requirement: str) -> str:
    """The package of a requirement such as numpy>=2.0."""
    return "".join(c if c.isalnum() or c in "-_." else " " for c in requirement).split()[0]


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _extras() -> Iterator[Check]:
    for extra, (module, purpose) in EXTRAS.items():
        there = find_spec(module) is not None
        found = (_version(module) or "installed") if there else ""
        yield Check("extras", f"dse[{extra}]", found, purpose)


def _programs() -> Iterator[Check]:
    for name, (commands, purpose) in PROGRAMS.items():
        found = next((path for command in commands if (path := shutil.which(command))), "")
        if name == "postgresql" and not found:
            found = next((str(path) for path in sorted(_POSTGRESQL.glob("*/bin/postgres"))), "")
        yield Check("programs", name, found, purpose)


def _data() -> Iterator[Check]:
    from dse.catalogue.paths import VARIABLE, data_roots

    try:
        roots = data_roots()
    except DseError as error:
        yield Check("data", f"${VARIABLE}", "", "folders of your own", True, str(error))
        return
    for root in roots:
        own = "a folder of your own" if root != roots[-1] else "the catalogue that comes with dse"
        yield Check("data", str(root), "found" if (root / "hardware").is_dir() else "", own, root == roots[-1])
    for name, items in _kinds().items():
        problems = [f"{item}: {reason}" for item, reason in items.items() if reason]
        yield Check("data", name, str(len(items)), "", True, "; ".join(problems) if items else "none was found")


def _kinds() -> dict[str, dict[str, str]]:
    """Items of each kind, and why one does not load."""
    from dse.catalogue.calibration import engine_names, load_engine
    from dse.cli.catalogue_items import hardware_items, workload_items
    from dse.launch.engines import launch_engines, load_launch_engine
    from dse.studies.files import load_study, study_names
    from dse.studies.searches import find_search, search_names

    found: dict[str, dict[str, str]] = {}
    for item in (*hardware_items(), *workload_items()):
        found.setdefault(_plural(item.kind), {})[item.name] = item.problem
    loaders: dict[str, tuple[list[str], Callable[[str], Any]]] = {
        "techniques and their studies": (study_names(), load_study), "searches": (search_names(), find_search),
        "engines": (engine_names(), load_engine), "launch commands": (launch_engines(), load_launch_engine)}
    for kind, (names, load) in loaders.items():
        found[kind] = {name: _fault(partial(load, name)) for name in names}
    return found


def _plural(kind: str) -> str:
    return kind if kind.endswith("s") else f"{kind[:-1]}ies" if kind.endswith("y") else f"{kind}s"


def _fault(load: Callable[[], Any]) -> str:
    """Why something does not load."""
    try:
        load()
    except DseError as error:
        return str(error)
    return ""


def _page(checks: list[Check]) -> Iterator[RenderableType]:
    for group in dict.fromkeys(c.group for c in checks):
        yield show.heading(group.capitalize())
        yield show.pairs((c.name, _line(c)) for c in checks if c.group == group)
    for c in checks:
        if c.problem:
            yield Text(_problem(c), style="red")
    counts = Counter("broken" if c.broken else "missing" if not c.found else "found" for c in checks)
    processors = os.cpu_count() or 1
    yield Text(f"\n{counts['broken']} broken, {counts['missing']} missing that only some commands need; "
               f"{processors} processor{'s' if processors > 1 else ''}")


def _line(c: Check) -> str:
    if c.found:
        return f"{c.found} ({c.purpose})" if c.group in ("programs", "data") and c.purpose else c.found
    advice = f"; pip install '{c.name}'" if c.group == "extras" else ""
    return f"missing: {c.purpose}{advice}"


def _problem(c: Check) -> str:
    text = f"{c.name}: {c.problem or 'is missing'}"
    return "".join(letter if letter.isprintable() else " " for letter in text)

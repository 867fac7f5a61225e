"""`dse study run|resume|show|check`: searches that are kept as files, and the folders that they write."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from dse import __version__
from dse.cli import show
from dse.cli.search_asked import Asked, make_search, read_asked
from dse.cli.search_run import Output, run_search, settings_of, study_name, trials_at
from dse.errors import InputError, nearest
from dse.search.files import SEARCH
from dse.search.held import held
from dse.search.storage import without_password
from dse.studies.searches import find_search, load_search, search_names

CHECK_SCHEMA, SHOW_SCHEMA = "dse.study.check/1", "dse.study.show/1"

study = typer.Typer(add_completion=False, no_args_is_help=False,
                    help="Run, resume, show and check searches that are kept as files.")
_File = Annotated[str, typer.Argument(metavar="FILE", help="A search file, or the name of a search of the catalogue.")]
_Trials = Annotated[str | None, typer.Option(help="Points of the continuous variables in all, in place of the file's.")]
_Seed = Annotated[str | None, typer.Option(help="Seed of the sampler, in place of the file's.")]
_Sampler = Annotated[str | None, typer.Option(help="Sampler, in place of the file's.")]
_Workers = Annotated[str | None, typer.Option(help="Processes on this machine, in place of the file's.")]
_Storage = Annotated[str | None, typer.Option(help="Where trials are kept: a journal file or postgresql://...; in "
                                              "place of the file's.")]
_Name = Annotated[str | None, typer.Option("--study", help="Name of the study in the storage.")]
_Memory = Annotated[str | None, typer.Option(help="Memory for a block of the grid.")]
_Out = Annotated[Path | None, typer.Option(metavar="DIR", help="Folder for the result.")]
_Report = Annotated[Path | None, typer.Option(metavar="FILE", help="HTML page to write.")]
_Json = Annotated[bool, typer.Option("--json", help="One JSON document.")]


@study.command("run")
def run(file: _File, trials: _Trials = None, seed: _Seed = None, sampler: _Sampler = None, workers: _Workers = None,
        storage: _Storage = None, name: _Name = None, memory: _Memory = None, out: _Out = None,
        report: _Report = None, as_json: _Json = False) -> None:
    """Search what a file asks: `dse search FILE` without options that change the question."""
    asked = _asked(file, {"trials": trials, "seed": seed, "sampler": sampler, "workers": workers, "storage": storage,
                          "study": name, "memory": memory})
    run_search(asked, Output(out, report, as_json))


@study.command("resume")
def resume(
    place: Annotated[str, typer.Argument(metavar="DIR|FILE", help="The folder of a search, or the file of one whose "
                                         "trials are in a storage.")],
    trials: _Trials = None, workers: _Workers = None, storage: _Storage = None, report: _Report = None,
    as_json: _Json = False,
) -> None:
    """Go on with a search that was interrupted or is to have more trials; what is finished is not done again."""
    folder = Path(place) if Path(place).is_dir() else None
    options = {"trials": trials, "workers": workers, "storage": storage}
    asked = _asked(place, options) if folder is None else _of_folder(folder, options)
    _check_begun(asked, folder, place)
    run_search(asked, Output(folder, report, as_json))


@study.command("show")
def show_study(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a search, finished or not.")],
    as_json: _Json = False,
) -> None:
    """How far a search is, with what settings, and the best it has found."""
    from dse.cli.study_page import progress_document, progress_page

    asked = _of_folder(folder, {})
    document = progress_document(folder, asked)
    if as_json:
        show.print_json({"schema": SHOW_SCHEMA, **document})
    else:
        show.print_page(progress_page(document))


@study.command("check")
def check(file: _File, as_json: _Json = False) -> None:
    """Read a file as a run would, and count its plans by axis; nothing is searched."""
    from dse.cli.study_check import check_page, size_document

    asked = _asked(file, {})
    spaces, aim = make_search(asked)
    settings_of(asked, None, spaces)
    document = size_document(asked, spaces, aim)
    if as_json:
        show.print_json({"schema": CHECK_SCHEMA, **document})
    else:
        show.print_page(check_page(document))


def _asked(file: str, options: Mapping[str, str | None]) -> Asked:
    """What a file or a search of the catalogue asks, with options over it."""
    if find_search(file) is None:
        hint = nearest(file, search_names()) if not Path(file).exists() else "a search file ends in .toml"
        raise InputError("FILE", f"{file[:80]!r} is neither a search of the catalogue nor a search file", hint)
    return read_asked(file, options, None, (), ())


def _of_folder(folder: Path, options: Mapping[str, str | None]) -> Asked:
    """What the search of a folder asked, which is all that going on with it needs."""
    path = folder / SEARCH
    if not path.is_file():
        raise InputError(str(folder), f"holds no {SEARCH}, expected the folder of a search (--out)")
    written_by = load_search(path).cells.get("version")
    if written_by != __version__:
        raise InputError(str(path), f"is of version {str(written_by)[:40]}, this is {__version__}",
                         f"begin anew: dse study run {path} --out NEW")
    return _asked(str(path), options)


def _check_begun(asked: Asked, folder: Path | None, place: str) -> None:
    """Refuse to go on with what no run has begun."""
    spaces, aim = make_search(asked)
    storage = trials_at(asked, folder, spaces)
    again = f"dse study run {place if folder is None else folder / SEARCH}"
    if not any(space.sampled for space in spaces):
        raise InputError(place, "asks for no trials: every plan is evaluated at once", f"run it: {again}")
    if storage is None:
        raise InputError(place, "names no storage, so no trials are kept", f"give --storage, or the folder of {again}")
    if held(spaces, aim, storage, study_name(asked, spaces)) is None:
        raise InputError(place, f"{without_password(storage)} holds no trials of it", f"begin: {again}")

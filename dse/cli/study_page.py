"""What `dse study show` says: how far a search is, with what settings, and the best that it has found."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import RenderableType

from dse.cli import show
from dse.cli.search_asked import Asked, make_search
from dse.cli.search_page import search_page
from dse.cli.search_run import study_name, trials_at
from dse.model.metrics import METRICS
from dse.plan.traffic import LOADS
from dse.report.result import read_result
from dse.search.files import RESULT, is_written
from dse.search.grid import Aim
from dse.search.held import STATES, Held, held
from dse.search.pareto import spread
from dse.search.result import front_table
from dse.search.space import SPLITS, Space
from dse.search.study import Outcome
from dse.studies.search_writer import search_document

MOST_ROWS = 20


def progress_document(folder: Path, asked: Asked) -> dict[str, Any]:
    """How far the search of a folder is: from its result where there is one, and from its trials so far."""
    spaces, aim = make_search(asked)
    sampled = any(space.sampled for space in spaces)
    kept = held(spaces, aim, trials_at(asked, folder, spaces), study_name(asked, spaces))
    result = read_result(folder) if (folder / RESULT).is_file() else None
    whole = result is not None and not result["search"]["interrupted"]
    state = "running" if is_written(folder) else "finished" if whole else "stopped"
    document = {
        "folder": str(folder), "state": state, "search": search_document(asked),
        "trials": {"asked": int(asked["trials"]) if sampled else 0, **({} if kept is None else kept.trials)},
    }
    if result is not None:
        return {**document, "counts": result["counts"], "regret": result["regret"], "result": result}
    if kept is None:
        return document
    counts = {"considered": kept.considered, "feasible": kept.feasible, "rejected": dict(kept.rejected)}
    return {**document, "counts": counts, "so_far": _so_far(spaces, aim, kept)}


def _so_far(spaces: Sequence[Space], aim: Aim, kept: Held) -> dict[str, Any]:
    """The front of the finished trials, as columns and rows; of the metrics those that decide."""
    none = kept.front.take(np.zeros(0, dtype=int))
    table = front_table(spaces, Outcome(kept.front, none, 0, 0, {}, None))
    chosen = [i for i, name in enumerate(table["columns"]) if name in aim.needed or name not in METRICS
              or name in ("gpus", spaces[0].load)]
    return {"columns": [table["columns"][i] for i in chosen],
            "rows": [[row[i] for i in chosen] for row in table["rows"]]}


def progress_page(document: Mapping[str, Any]) -> Iterator[RenderableType]:
    """State, trials, and the result or the front so far."""
    search, trials = document["search"], document["trials"]
    yield show.heading(f"{search['title']}: {document['state']}")
    yield show.pairs(_state(document, trials))
    if "result" in document:
        yield from search_page(document["result"], ())
    elif document.get("so_far", {}).get("rows"):
        yield show.heading(f"Front of the finished trials: {len(document['so_far']['rows'])} plans")
        yield _front(document["so_far"], search)


def _state(document: Mapping[str, Any], trials: Mapping[str, int]) -> Iterator[tuple[str, str]]:
    """How many trials are done, what was looked at, and how to go on."""
    if trials["asked"]:
        others = [f"{trials[name]} {name}" for name in STATES[1:] if trials.get(name)]
        yield "trials", ", ".join([f"{trials.get('complete', 0):,} of {trials['asked']:,} finished", *others])
    if "counts" in document and "result" not in document:
        yield "plans", f"{document['counts']['considered']:,} considered, {document['counts']['feasible']:,} feasible"
    for name in ("seed", "sampler", "workers", "version"):
        yield name, str(document["search"][name])
    if document["state"] == "stopped":
        yield "go on", f"dse study resume {shlex.quote(document['folder'])}"


def _front(table: Mapping[str, Any], search: Mapping[str, Any]) -> RenderableType:
    """At most so many points, evenly spread: splits, load and objectives."""
    load = next((name for name in LOADS if name in search["traffic"]), "concurrency")
    columns = [*(n for n in (*SPLITS, "gpus") if len({row[table["columns"].index(n)] for row in table["rows"]}) > 1),
               load, *search["objectives"]]
    places = [table["columns"].index(name) for name in columns]
    rows = [table["rows"][i] for i in spread(len(table["rows"]), MOST_ROWS)]
    return show.table(columns, [[show.significant(row[place]) for place in places] for row in rows], left=0)

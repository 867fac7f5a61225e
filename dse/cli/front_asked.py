"""The front of a search, run now or kept in a folder, as plans that can be evaluated again."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from dse.cli.progress import Bar
from dse.cli.search_asked import Asked, make_search, read_asked
from dse.cli.search_page import nothing_feasible
from dse.cli.search_run import settings_of
from dse.errors import EnvironmentProblem, InputError
from dse.model.evaluate import Evaluation
from dse.search.blocks import MEMORY
from dse.search.files import FRONT, SEARCH
from dse.search.grid import Aim, search_grid
from dse.search.pareto import Points, joined
from dse.search.result import BY_TECHNIQUE, evaluation_at
from dse.search.space import SPLITS, Space
from dse.search.structures import SPACE, space_of, structures_of
from dse.search.study import explore

LARGEST = 1 << 28
LOADS = {"concurrency": "users", "rate": "req/s", "batch": "a batch"}
NAMED = ("weights", "kv", "technique", SPACE)


@dataclass(frozen=True, slots=True)
class Front:
    """The best plans of a search by its first objective, each in a few words, and what was aimed at."""

    plans: list[Evaluation]
    words: list[str]
    aim: Aim


def front_searched(asked: Asked, most: int) -> Front:
    """The first `most` plans of the front of a search that is run for it."""
    spaces, aim = make_search(asked)
    with Bar() as bar:
        outcome = explore(spaces, aim, settings_of(asked, None, spaces), bar, partial(make_search, asked))
    if outcome.interrupted:
        raise KeyboardInterrupt
    if not len(outcome.front):
        raise nothing_feasible(spaces, outcome)
    return _front(spaces, aim, outcome.front, most)


def _front(spaces: Sequence[Space], aim: Aim, points: Points, most: int) -> Front:
    """The front's first plan, then the best others: of the front, and of each chip and technique by itself, which a
    front hides where another is a little better.
    """
    structures = structures_of(spaces)
    others = [s.lifted(search_grid(s.space, aim, s.space.defaults, MEMORY).front, points.names) for s in structures]
    together = joined([points, *(others if len(others) > 1 else ())])
    costs = together.column(aim.objectives[0]) * -aim.better[0]
    order = np.argsort(np.where(np.arange(len(costs)) == 0, -np.inf, costs), kind="stable")
    plan = [i for i, name in enumerate(together.names) if name not in aim.metrics or name in (spaces[0].load, "gpus")]
    kept = together.take(order[_first_of_each(together.rows[order][:, plan])][:most])
    with np.errstate(all="ignore"):
        plans = [evaluation_at(space_of(spaces, kept, i), kept, i) for i in range(len(kept))]
    return Front(plans, [_words(space_of(spaces, kept, i), kept, i, len(spaces) > 1) for i in range(len(kept))], aim)


def _first_of_each(rows: np.ndarray) -> np.ndarray:
    """Indices of the first of equal rows, in order."""
    _, index = np.unique(np.nan_to_num(rows, nan=-1.0), axis=0, return_index=True)
    return np.sort(index)


def front_kept(folder: Path, most: int) -> Front:
    """The first `most` plans of the front in a folder."""
    if not (folder / SEARCH).is_file():
        raise InputError(str(folder), f"holds no {SEARCH}, expected the folder of a search (--out)")
    spaces, aim = make_search(read_asked(str(folder / SEARCH), {}, None, (), ()))
    rows = _rows(folder / FRONT)
    if not rows:
        raise InputError(str(folder / FRONT), "holds no plan, expected the front of a search")
    return _front(spaces, aim, _points(spaces, rows, str(folder / FRONT)), most)


def _rows(path: Path) -> list[dict[str, str]]:
    try:
        if path.stat().st_size > LARGEST:
            raise InputError(str(path), f"is larger than {LARGEST >> 20} MiB, expected the front of a search")
        with path.open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))
    except OSError as problem:
        raise EnvironmentProblem(str(path), f"cannot be read ({problem.strerror})", "is the search finished?") from None
    except (UnicodeDecodeError, csv.Error):
        raise InputError(str(path), "is not a table, expected the front of a search") from None


def _points(spaces: Sequence[Space], rows: Sequence[Mapping[str, str]], where: str) -> Points:
    """The table as numbers: formats and techniques by their places in the space's lists."""
    words = {name for s in spaces for v in s.variants for name in v.words}
    names = [name for name in rows[0] if name and name != "id" and name not in words]
    numbers = [[_number(spaces, row, name, f"{where}: line {i + 2}") for name in names] for i, row in enumerate(rows)]
    return Points(tuple(names), np.array(numbers, dtype=float))


def _number(spaces: Sequence[Space], row: Mapping[str, str], name: str, where: str) -> float:
    text = row[name]
    if not text or text == BY_TECHNIQUE:
        return np.nan
    if name in NAMED:
        listed = _listed(_space(spaces, row), spaces, name)
        if text not in listed:
            raise InputError(f"{where}: {name}", f"{text[:60]!r} is not among the search's", "run the search again")
        return float(listed.index(text) if name != "technique" else _variant(_space(spaces, row), row))
    try:
        return float(text)
    except (TypeError, ValueError):
        raise InputError(f"{where}: {name}", f"{str(text)[:60]!r} is no number", "run the search again") from None


def _space(spaces: Sequence[Space], row: Mapping[str, str]) -> Space:
    return next((s for s in spaces if s.system.name == row.get(SPACE)), spaces[0])


def _listed(space: Space, spaces: Sequence[Space], name: str) -> list[str]:
    if name == SPACE:
        return [s.system.name for s in spaces]
    if name == "technique":
        return [v.name for v in space.variants]
    return [item or "checkpoint" for item in getattr(space, name)]


def _variant(space: Space, row: Mapping[str, str]) -> int:
    """The variant with these techniques, and these values of its knobs that are names."""
    return next(i for i, v in enumerate(space.variants) if v.name == row["technique"]
                and all(row.get(name) == word for name, word in v.words.items()))


def _words(space: Space, points: Points, row: int, several: bool) -> str:
    at = dict(zip(points.names, points.rows[row].tolist(), strict=True))
    splits = " ".join(f"{name}{at[name]:g}" for name in SPLITS if name in ("tp", "dp") or at[name] != 1)
    variant = space.variants[int(at.get("technique", 0))]
    on = f" {variant.name}" if variant.techniques else ""
    chip = f"{space.system.name} " if several else ""
    return f"{chip}{splits}{on}, {at[space.load]:g} {LOADS[space.load]}"

"""What a storage holds of a search, without adding to it: trials by state, and the front of the finished ones."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dse.search.grid import Aim, Found, names_of
from dse.search.opening import COARSE
from dse.search.pareto import Points, front, joined
from dse.search.record import FOUND, found_of
from dse.search.space import Space
from dse.search.storage import check_storage, open_storage, without_password
from dse.search.structures import Structure, all_names, structures_of

STATES = ("complete", "running", "waiting", "fail")


@dataclass(frozen=True, slots=True)
class Held:
    """Trials by state, plans that were looked at, rejected by the first constraint they fail, and the front."""

    trials: Mapping[str, int]
    considered: int
    feasible: int
    rejected: Mapping[str, int]
    front: Points


def held(spaces: Sequence[Space], aim: Aim, storage: str | None, name: str) -> Held | None:
    """What is held of the study of that name and of its structures' (`NAME/...`); None where it was never begun."""
    if storage is None or ("://" not in storage and not Path(storage).is_file()):
        return None
    check_storage(storage)
    structures = structures_of(spaces)
    with open_storage(storage) as opened:
        studies = {s.study_name: s for s in opened.get_all_studies()}
        if name not in studies:
            return None
        states: Counter[str] = Counter()
        founds: list[tuple[Structure, Found]] = []
        for structure in structures:
            study = studies.get(name if len(structures) == 1 else f"{name}/{structure.name}")
            trials = [] if study is None else opened.get_all_trials(study._study_id, deepcopy=False)
            states.update(t.state.name.lower() for t in trials)
            records = [t.user_attrs.get(FOUND) for t in sorted(trials, key=lambda t: int(t.number))
                       if t.state.name == "COMPLETE"]
            coarse = None if study is None else study.user_attrs.get(COARSE)
            founds += _read([*records, *([] if coarse is None else [coarse])], structure, aim, storage)
    return _merged(spaces, aim, {state: states[state] for state in STATES}, founds)


def _read(records: Sequence[Any], structure: Structure, aim: Aim, storage: str) -> list[tuple[Structure, Found]]:
    names, where = names_of(structure.space, aim), without_password(storage)
    return [(structure, found_of(record, names, where)) for record in records]


def _merged(spaces: Sequence[Space], aim: Aim, trials: Mapping[str, int],
            founds: Sequence[tuple[Structure, Found]]) -> Held:
    names = all_names(spaces, aim)
    points = joined([Points(names, np.zeros((0, len(names)))), *(s.lifted(f.front, names) for s, f in founds)])
    rejected: Counter[str] = Counter()
    for _, found in founds:
        rejected.update(found.rejected)
    return Held(trials, sum(f.considered for _, f in founds), sum(f.feasible for _, f in founds), rejected,
                front(points, aim.objectives, aim.better))

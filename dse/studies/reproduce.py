"""A study judged whole: its claims, the settings that serve several at once, and the calibrations behind them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np

from dse.studies.judge import Outcome, judge
from dse.studies.optimum import Array
from dse.studies.run import Bench
from dse.studies.study import VERDICTS, Study
from dse.studies.sweep import Calibration

SCHEMA = "dse.studies/1"
_MOST_PAIRS = 6


@dataclass(frozen=True, slots=True)
class Joint:
    """Claims that one setting of the unknowns has to serve: how many settings do, and one of them."""

    group: str
    claims: tuple[str, ...]
    inside: int
    settings: int
    point: Mapping[str, float | str]
    pairs: tuple[tuple[str, str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Verdicts:
    """The outcomes of a study."""

    study: Study
    outcomes: tuple[Outcome, ...]
    joint: tuple[Joint, ...]
    calibrations: tuple[Calibration, ...]

    @property
    def agrees(self) -> bool:
        """Whether every verdict is the one that the file records."""
        return all(outcome.agrees for outcome in self.outcomes)


def reproduce(study: Study) -> Verdicts:
    """Judge every claim of a study."""
    bench = Bench(study)
    outcomes = tuple(judge(bench, claim) for claim in study.claims)
    groups = sorted({o.claim.joint for o in outcomes if o.claim.joint})
    joint = tuple(_joint(study, group, [o for o in outcomes if o.claim.joint == group]) for group in groups)
    return Verdicts(study, outcomes, joint, tuple(_calibrations(outcomes)))


def _joint(study: Study, group: str, members: list[Outcome]) -> Joint:
    """Settings of all unknowns of the group; a claim that fixes an unknown holds for every value of it."""
    names = [n for n in study.unknown if any(n in o.axes.knobs for o in members)]
    sizes = tuple(len(study.unknown[n].axis()) for n in names)
    masks = [_laid(o, names) for o in members]
    inside = np.broadcast_to(np.logical_and.reduce(np.broadcast_arrays(*masks)), sizes)
    spots = np.argwhere(inside)
    point = {n: study.unknown[n].axis()[i].item() for n, i in zip(names, spots[0], strict=True)} if len(spots) else {}
    words = [o.claim.words for o in members]
    pairs = []
    if 2 < len(members) <= _MOST_PAIRS:
        for i, j in combinations(range(len(members)), 2):
            both = np.broadcast_to(masks[i] & masks[j], sizes)
            pairs.append((words[i], words[j], int(both.sum())))
    return Joint(group, tuple(words), int(inside.sum()), int(np.prod(sizes, dtype=int)), point, tuple(pairs))


def _laid(outcome: Outcome, names: list[str]) -> Array:
    """The mask of an outcome with a dimension for each of the names."""
    if outcome.mask is None:
        return np.zeros([1] * len(names), dtype=bool)
    kept = [n for n in names if n in outcome.axes.knobs]
    order = [outcome.axes.index(n) for n in kept]
    shape = [len(outcome.axes.knobs[n].axis()) if n in kept else 1 for n in names]
    return np.transpose(outcome.mask, order).reshape(shape)


def _calibrations(outcomes: Iterable[Outcome]) -> Iterable[Calibration]:
    """Each derived number once, over the range that all claims together saw."""
    seen: dict[str, Calibration] = {}
    for found in (c for o in outcomes for c in o.calibrations):
        old = seen.get(found.name)
        if old is None or found.high - found.low > old.high - old.low:
            seen[found.name] = found
    return seen.values()


def document(found: Iterable[Verdicts]) -> dict[str, Any]:
    """Everything as plain values: what `dse reproduce --json` prints."""
    every = list(found)
    outcomes = [o for v in every for o in v.outcomes]
    return {"schema": SCHEMA, "studies": [_study(v) for v in every], "agrees": all(v.agrees for v in every),
            "claims": len(outcomes), "counts": {name: sum(o.verdict == name for o in outcomes) for name in VERDICTS},
            "given": sum(o.claim.given for o in outcomes)}


def _study(v: Verdicts) -> dict[str, Any]:
    return {
        "name": v.study.name, "title": v.study.title, "source": v.study.source, "agrees": v.agrees,
        "claims": [_claim(o) for o in v.outcomes],
        "joint": [{"group": j.group, "claims": list(j.claims), "inside": j.inside, "settings": j.settings,
                   "point": dict(j.point) or None,
                   "pairs": [{"claims": [a, b], "inside": n} for a, b, n in j.pairs]} for j in v.joint],
        "calibrations": [{"name": c.name, "value": _span((c.low, c.high)), "metric": c.metric or None,
                          "aimed": c.aimed, "missed": c.missed, "why": c.why} for c in v.calibrations],
        "unknown": {n: {"low": _end(k.axis(), 0), "high": _end(k.axis(), -1), "unit": k.unit, "why": k.why}
                    for n, k in v.study.unknown.items()},
    }


def _claim(o: Outcome) -> dict[str, Any]:
    c = o.claim
    out = o.claim.out_of_model
    return {
        "words": c.words, "metric": c.metric or None, "quantity": None if out else c.quantity,
        "claimed": None if out else _span(c.value), "predicted": None if o.predicted is None else _span(o.predicted),
        "unit": c.unit, "verdict": o.verdict, "recorded": c.verdict or None, "agrees": o.agrees, "given": c.given,
        "tolerance": None if out else c.tolerance, "point": dict(o.point), "share": o.share,
        "region": {n: list(r) for n, r in o.region.items()}, "best": dict(o.places), "closed": dict(o.closed),
        "reason": o.reason, "source": c.source, "note": c.note,
    }


def _span(pair: tuple[float, float]) -> float | list[float]:
    low, high = pair
    return low if high - low <= 1e-6 * abs(high) else [low, high]


def _end(axis: Array, at: int) -> float | str:
    found: float | str = axis[at].item()
    return found

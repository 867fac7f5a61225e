"""Fits all stages of a kind, and predicts rows that a fit has not seen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
import pandas as pd

from dse.equations.num import Number
from dse.errors import InputError
from dse.validation.fit import Fit, fit
from dse.validation.kinds import KINDS, Kind
from dse.validation.splits import ARCHITECTURES, HELD_OUT, sample, unseen_models, unseen_shapes
from dse.validation.tables.source import Loaded

REPORTED = 4000
"""Rows of each label and chip that a report looks at, drawn with a fixed seed."""
SAMPLED = 700
"""Rows of each chip and stage that a fit looks at: ten times as many move no constant by more than its error."""
LEAVE_OUT = ("shape", "architecture", "model")
Fits = Mapping[str, Fit]


@dataclass(frozen=True, slots=True)
class Predicted:
    """Rows with `label` and `predicted_s`; `dropped` counts what cleaning took away, `how` says what was fitted."""

    rows: pd.DataFrame
    dropped: Mapping[str, int]
    how: str


def fit_stages(kind: Kind, table: pd.DataFrame, earlier: Fits | None = None) -> dict[str, Fit]:
    """Every stage of a kind on the rows of `table` that concern it, in order."""
    fits: dict[str, Fit] = dict(earlier or {})
    for stage in kind.stages:
        rows = table[stage.rows(table) & ~table["chip"].isin(stage.apart)]
        if len(rows):
            part = sample(rows, ["chip"], SAMPLED)
            fits[stage.name] = fit(kind.law, part, stage.free, constants_at(fits, part))
    return fits


def fit_chip(kind: Kind, table: pd.DataFrame, fixed: Mapping[str, Number]) -> dict[str, Fit]:
    """The constants that a chip has for itself, fitted to its own rows; the class's and the universal ones stay."""
    fits: dict[str, Fit] = {}
    for stage in kind.stages:
        rows = table[stage.rows(table)].reset_index(drop=True)
        free = tuple(f for f in stage.free if f.level == "chip")
        if len(rows) > len(free):
            fits[stage.name] = fit(kind.law, rows, free, {**constants_at(fits, rows), **fixed})
    return fits


def constants_at(fits: Fits, rows: pd.DataFrame) -> dict[str, Number]:
    """All fitted constants on the given rows."""
    out: dict[str, Number] = {}
    for found in fits.values():
        out.update(found.at(rows))
    return out


def predict(kind: Kind, rows: pd.DataFrame, fits: Fits) -> np.ndarray:
    """Seconds of the rows with the fitted constants in place of the shipped ones."""
    return kind.law(rows, constants_at(fits, rows))


@cache
def measured(name: str) -> Loaded:
    """A kind's cleaned table, read once; whoever changes it works on a copy."""
    return KINDS[name].load()


def validate_kind(name: str, leave_out: str | None = None) -> Predicted:
    """Measured rows beside predictions that have not seen them.

    Without `leave_out` the shipped constants predict the shapes (for mixtures of experts: the models) that they were
    not fitted to. With it the constants are fitted anew without what is left out, here and in the kinds they need.
    """
    kind = KINDS[name]
    table, dropped = measured(name)
    if leave_out is None:
        rows = _reported(kind, table[unseen(kind, table)])
        return Predicted(rows.assign(predicted_s=kind.law(rows, {})), dropped,
                         "shipped constants, rows they have not seen")
    if not kind.stages:
        raise InputError("--leave-out", f"{name} has no constants of its own to fit", "leave the option out")
    if leave_out == "model" and name != "moe":
        raise InputError("--leave-out", f"{name} rows belong to no model", "use shape or architecture")
    parts = [_without(kind, table, gone) for gone in _left_out(kind, table, leave_out)]
    return Predicted(pd.concat(parts, ignore_index=True), dropped, f"fitted without the {leave_out} of each row")


def unseen(kind: Kind, table: pd.DataFrame) -> np.ndarray:
    """Rows that the shipped constants were not fitted to."""
    return unseen_models(table) if kind.name == "moe" else unseen_shapes(table, kind.name)


def fit_shipped(name: str, earlier: Fits | None = None) -> dict[str, Fit]:
    """A kind's stages on all rows but the held-out ones: what the shipped calibration files hold."""
    kind = KINDS[name]
    table, _ = measured(name)
    return fit_stages(kind, table[~unseen(kind, table)].reset_index(drop=True), earlier)


def _left_out(kind: Kind, table: pd.DataFrame, leave_out: str) -> list[np.ndarray]:
    if leave_out == "shape":
        return [unseen_shapes(table, kind.name)]
    if leave_out == "model":
        return [unseen_models(table)]
    return [table["chip"].isin(ARCHITECTURES[a]).to_numpy() for a in HELD_OUT
            if table["chip"].isin(ARCHITECTURES[a]).any()]


def _without(kind: Kind, table: pd.DataFrame, gone: np.ndarray) -> pd.DataFrame:
    """The rows that are gone, predicted from the others."""
    chips = set(table["chip"][gone]) if set(table["chip"][gone]).isdisjoint(table["chip"][~gone]) else set()
    earlier: dict[str, Fit] = {}
    for needed in kind.needs:
        other, _ = measured(needed)
        kept = ~other["chip"].isin(chips).to_numpy() & ~unseen(KINDS[needed], other)
        earlier = fit_stages(KINDS[needed], other[kept].reset_index(drop=True), earlier)
    fits = fit_stages(kind, table[~gone].reset_index(drop=True), earlier)
    rows = _reported(kind, table[gone])
    return rows.assign(predicted_s=predict(kind, rows, fits))


def _reported(kind: Kind, rows: pd.DataFrame) -> pd.DataFrame:
    return sample(rows.assign(label=kind.label(rows)), ["label", "chip"], REPORTED)

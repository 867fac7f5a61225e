"""Fits constants of the laws to measured rows.

Least squares on the logarithm of the times with a robust loss, in the logarithm of the constants: all are positive.
A constant is universal, one per class of chips, or one per chip. One evaluation of the law moves a constant on all
chips at once, because a row depends on one of its values only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from scipy.optimize import least_squares

from dse.catalogue.hardware import load_chip
from dse.equations.num import Number
from dse.validation.rows import shipped
from dse.validation.unseen import value_for

Law = Callable[[pd.DataFrame, Mapping[str, Number]], np.ndarray]
LOSS_SCALE = 0.1
"""Log error from which a row counts linearly: fallback kernels must not pull the fit."""
REACH = 4.0
"""A constant stays within e^4 of its start."""
STEP = 1e-3
"""Relative step of the numeric derivatives."""
MOST_STEPS = 30
TOLERANCE = 1e-5
LARGEST_ERROR = 0.5
"""A constant whose relative standard error exceeds this says nothing."""
EVERYWHERE = "all"


@dataclass(frozen=True, slots=True)
class Free:
    """A constant to fit: its name in the calibration files, its level ("all", "class", "chip"), where it starts."""

    name: str
    level: str
    start: float


@dataclass(frozen=True, slots=True)
class Fitted:
    """A fitted value with its relative standard error; `member` is a chip, a class or "all"."""

    name: str
    member: str
    value: float
    error: float

    @property
    def informed(self) -> bool:
        """Whether the rows say anything about it."""
        return bool(np.isfinite(self.error) and self.error <= LARGEST_ERROR)


@dataclass(frozen=True, slots=True)
class Fit:
    """Constants fitted to `rows` rows; `residual` is the median absolute log error there, `by_chip` both of a chip.

    refused: what the rows say too little about; on these members the constants have the value they had before.
    """

    constants: tuple[Fitted, ...]
    refused: tuple[Fitted, ...]
    rows: int
    residual: float
    by_chip: Mapping[str, tuple[int, float]]

    def at(self, rows: pd.DataFrame) -> dict[str, Number]:
        """Each constant's value on each row; a chip that the fit has not seen gets what the others suggest."""
        chips = [str(chip) for chip in rows["chip"].unique()]
        out: dict[str, Number] = {}
        for name in dict.fromkeys(c.name for c in (*self.constants, *self.refused)):
            values = {chip: self._value(name, chip) for chip in chips}
            alike = len(set(values.values())) == 1
            out[name] = values[chips[0]] if alike else rows["chip"].map(values).to_numpy(dtype=float)
        return out

    def _value(self, name: str, chip: str) -> float:
        members = (chip, load_chip(chip).kernel_class, EVERYWHERE)
        if any(c.name == name and c.member in members for c in self.refused):
            return shipped(name, chip)
        known = {c.member: c.value for c in self.constants if c.name == name}
        return value_for(name, chip, known) if known else shipped(name, chip)


def fit(law: Law, rows: pd.DataFrame, free: Sequence[Free], fixed: Mapping[str, Number] | None = None) -> Fit:
    """Constants of `law` that bring its times closest to `rows["time_s"]`.

    Those that the rows say too little about keep the value of the family, and the others are fitted again beside it.
    """
    found = _Problem(law, rows, free, fixed or {}, frozenset()).solve()
    refused: tuple[Fitted, ...] = ()
    while gone := _least_informed(found):
        refused += gone
        held = frozenset((c.name, c.member) for c in refused)
        found = _Problem(law, rows, free, fixed or {}, held).solve()
    return replace(found, refused=refused)


def _least_informed(found: Fit) -> tuple[Fitted, ...]:
    """What to refuse next: all that no row depends on, else the worst, because others may only be mixed up with it."""
    silent = tuple(c for c in found.constants if not np.isfinite(c.error))
    worst = max(found.constants, key=lambda c: c.error, default=None)
    return silent or (() if worst is None or worst.informed else (worst,))


class _Problem:
    """One least-squares problem: which entry of its vector each row of a constant uses."""

    def __init__(self, law: Law, rows: pd.DataFrame, free: Sequence[Free], fixed: Mapping[str, Number],
                 held: frozenset[tuple[str, str]]) -> None:
        self.law, self.rows, self.fixed = law, rows, fixed
        self.measured = np.log(rows["time_s"].to_numpy(dtype=float))
        self.members: list[tuple[Free, str]] = []
        self.values: dict[str, np.ndarray] = {}
        self.places: dict[str, np.ndarray] = {}
        for f in free:
            self._place(f, held)

    def _place(self, free: Free, held: frozenset[tuple[str, str]]) -> None:
        """Entries for one constant; members that are held keep their shipped value, at place -1."""
        chips = [str(chip) for chip in self.rows["chip"].unique()]
        of_chip = {chip: member_of(free, chip) for chip in chips}
        index = {}
        for member in sorted(set(of_chip.values())):
            index[member] = -1 if (free.name, member) in held else len(self.members)
            if index[member] >= 0:
                self.members.append((free, member))
        column = self.rows["chip"]
        self.places[free.name] = column.map({c: index[m] for c, m in of_chip.items()}).to_numpy(dtype=int)
        kept = {chip: shipped(free.name, chip) if index[of_chip[chip]] < 0 else np.nan for chip in chips}
        self.values[free.name] = column.map(kept).to_numpy(dtype=float)

    def _constants(self, x: np.ndarray) -> dict[str, Number]:
        out: dict[str, Number] = {}
        for name, place in self.places.items():
            values = np.where(place < 0, self.values[name], np.append(np.exp(x), np.nan)[place])
            out[name] = float(values[0]) if np.all(values == values[0]) else values
        return out

    def residuals(self, x: np.ndarray) -> np.ndarray:
        """Log of predicted over measured."""
        return np.asarray(np.log(self.law(self.rows, {**self.fixed, **self._constants(x)})) - self.measured)

    def jacobian(self, x: np.ndarray) -> np.ndarray:
        """Derivatives of the residuals, one evaluation for each constant."""
        base, matrix = self.residuals(x), np.zeros((len(self.rows), len(x)))
        for place in self.places.values():
            moved = place >= 0
            shifted = x.copy()
            shifted[np.unique(place[moved])] += STEP
            matrix[moved, place[moved]] = ((self.residuals(shifted) - base) / STEP)[moved]
        return matrix

    def solve(self) -> Fit:
        """The constants with their errors."""
        start = np.log([f.start for f, _ in self.members])
        if not self.members:
            return self._result(start, np.zeros(0))
        found = least_squares(self.residuals, start, jac=self.jacobian, bounds=(start - REACH, start + REACH),
                              loss="soft_l1", f_scale=LOSS_SCALE, x_scale="jac", ftol=TOLERANCE, xtol=TOLERANCE,
                              max_nfev=MOST_STEPS)
        return self._result(found.x, _errors(np.asarray(found.jac), found.cost, len(self.rows)))

    def _result(self, x: np.ndarray, errors: np.ndarray) -> Fit:
        constants = tuple(Fitted(f.name, member, float(np.exp(value)), float(error))
                          for (f, member), value, error in zip(self.members, x, errors, strict=True))
        left = np.abs(self.residuals(x))
        groups = pd.Series(left).groupby(self.rows["chip"].to_numpy())
        by_chip = {str(chip): (len(part), float(part.median())) for chip, part in groups}
        return Fit(constants, (), len(self.rows), float(np.median(left)), by_chip)


def member_of(free: Free, chip: str) -> str:
    """Which value of a constant a chip has."""
    return {"all": EVERYWHERE, "class": load_chip(chip).kernel_class, "chip": chip}[free.level]


def _errors(jacobian: np.ndarray, cost: float, rows: int) -> np.ndarray:
    """Relative standard errors from the curvature of the loss; infinite where no row depends on a constant."""
    curvature = jacobian.T @ jacobian
    spread = 2 * cost / max(rows - jacobian.shape[1], 1)
    scale = np.sqrt(np.diag(curvature))
    silent = scale < 1e-9 * max(float(scale.max(initial=0.0)), 1e-30)
    scale = np.where(silent, 1.0, scale)
    inverse = np.linalg.pinv(curvature / np.outer(scale, scale), rcond=1e-12)
    return np.where(silent, np.inf, np.sqrt(np.maximum(np.diag(inverse), 0) * spread) / scale)

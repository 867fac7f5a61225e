"""The best of knobs: enumerated together on their axes, then zoomed in on, for every setting of the rest at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from dse.plan.technique import Knob

Array = np.ndarray[Any, Any]
ZOOMS = 3
FINE = 33


@dataclass(frozen=True, slots=True)
class Axes:
    """Knobs and unknowns that vary; each has an array dimension of its own, in this order."""

    knobs: Mapping[str, Knob]

    @property
    def shape(self) -> tuple[int, ...]:
        """Points along each dimension."""
        return tuple(len(knob.axis()) for knob in self.knobs.values())

    def index(self, name: str) -> int:
        """The dimension of a name."""
        return list(self.knobs).index(name)

    def along(self, name: str) -> Array:
        """The values of a name, along its dimension."""
        return self.lying(name, self.knobs[name].axis())

    def lying(self, name: str, values: Array) -> Array:
        """Any values laid along the dimension of a name."""
        return values.reshape([-1 if other == name else 1 for other in self.knobs])


@dataclass(frozen=True, slots=True)
class Best:
    """The best value for every setting that is left (the optimal dimensions have length 1), and the knobs' places."""

    value: Array
    places: Mapping[str, Array]
    enumerated: Array


def best(axes: Axes, optimal: tuple[str, ...], score: Callable[[Mapping[str, Any]], Array], sign: int) -> Best:
    """The most (sign 1) or least (-1) of a score over the optimal names; nan never wins.

    score: takes values of the optimal names that replace those of the axes. Names of a list are enumerated only; a
    range is looked at again, three times, in 33 points between the neighbours of its best.
    """
    whole = np.broadcast_to(score({name: axes.along(name) for name in optimal}), axes.shape)
    if not optimal:
        return Best(whole, {}, whole)
    dims = tuple(axes.index(name) for name in optimal)
    value, where = _pick(whole, dims, sign)
    places = {name: axes.knobs[name].axis()[index] for name, index in zip(optimal, where, strict=True)}
    spans = {name: _neighbours(axes.knobs[name].axis(), index)
             for name, index in zip(optimal, where, strict=True) if axes.knobs[name].steady}
    for _ in range(ZOOMS):
        for name in spans:
            value, places, spans = _zoomed(axes, name, value, places, spans, score, sign)
    return Best(value, places, whole)


def _zoomed(axes: Axes, name: str, value: Array, places: dict[str, Array], spans: dict[str, tuple[Array, Array]],
            score: Callable[[Mapping[str, Any]], Array], sign: int,
            ) -> tuple[Array, dict[str, Array], dict[str, tuple[Array, Array]]]:
    """One closer look along one knob, the others where they are best."""
    low, high = spans[name]
    dim = axes.index(name)
    tried = low + (high - low) * axes.lying(name, np.linspace(0.0, 1.0, FINE))
    tried = np.round(tried) if axes.knobs[name].whole else tried
    shape = list(value.shape)
    shape[dim] = FINE
    found = np.broadcast_to(score({**places, name: tried}), shape)
    fine, (index,) = _pick(found, (dim,), sign)
    tried = np.broadcast_to(tried, shape)
    place = np.take_along_axis(tried, index, dim)
    better = sign * fine > sign * value
    span = tuple(np.take_along_axis(tried, np.clip(index + step, 0, FINE - 1), dim) for step in (-1, 1))
    return (np.where(better, fine, value), {**places, name: np.where(better, place, places[name])},
            {**spans, name: (span[0], span[1])})


def _pick(whole: Array, dims: tuple[int, ...], sign: int) -> tuple[Array, list[Array]]:
    """The best along some dimensions (kept, with length 1), and its index along each."""
    ranked = np.where(np.isnan(whole), -np.inf, sign * whole)
    front = np.moveaxis(ranked, dims, range(len(dims)))
    sizes = front.shape[:len(dims)]
    flat = front.reshape(-1, *front.shape[len(dims):])
    first = np.argmax(flat, axis=0)
    value = sign * np.max(flat, axis=0)
    value = np.where(np.isinf(value), np.nan, value)
    spread = np.expand_dims(value, tuple(sorted(dims)))
    return spread, [np.expand_dims(i, tuple(sorted(dims))) for i in np.unravel_index(first, sizes)]


def _neighbours(axis: Array, index: Array) -> tuple[Array, Array]:
    last = len(axis) - 1
    return axis[np.maximum(index - 1, 0)], axis[np.minimum(index + 1, last)]


def settings(axes: Axes, names: tuple[str, ...], index: tuple[int, ...]) -> Iterator[tuple[str, float | str]]:
    """Names and values at an index of their dimensions."""
    for name, place in zip(names, index, strict=True):
        yield name, axes.knobs[name].axis()[place].item()

"""Colours, symbols and layout that the figures share. Ink and paper are the page's: it knows light from dark."""

from __future__ import annotations

from collections.abc import Iterable
from math import ceil, floor, log10
from typing import Any

from dse.report.words import SCALED, figure_of, label, metric_title, quantity, shorten

Figure = dict[str, Any]
"""What Plotly draws: data and layout, as plain values."""

# Okabe and Ito's palette, which colour-blind readers tell apart; their black is left to the page's ink.
BLUE, SKY, GREEN, ORANGE, VERMILION, PURPLE, YELLOW, GREY = (
    "#0072B2", "#56B4E9", "#009E73", "#E69F00", "#D55E00", "#CC79A7", "#F0E442", "#999999")

RESOURCE_COLOURS = {"compute": BLUE, "l2": SKY, "hbm": ORANGE, "link": GREEN, "host_link": PURPLE, "latency": GREY,
                    "engine": VERMILION, "disk_link": YELLOW, "cpu": YELLOW, "host_memory": YELLOW}
OBJECT_COLOURS = {"attention_weights": BLUE, "mlp_weights": SKY, "expert_weights": GREEN, "embedding": YELLOW,
                  "kv": ORANGE, "activations": PURPLE, "norms": VERMILION, "reserve": GREY}
RESOURCE_WORDS = {"l2": "cache (L2)", "hbm": "HBM", "host_link": "host link", "disk_link": "disk",
                  "cpu": "CPU", "host_memory": "host memory", "latency": "latency"}
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "star", "hexagon", "pentagon", "x", "triangle-down")
WIDE = 20.0
"""Values that span more than this factor go on a logarithmic axis."""
FAR = 4.0
"""A limit more than this factor above every value is left to the text."""


def resource_colour(name: str) -> str:
    """A resource's colour; one that nobody foresaw is yellow."""
    return RESOURCE_COLOURS.get(name, YELLOW)


def resource_words(name: str) -> str:
    """A resource in words."""
    return RESOURCE_WORDS.get(name, shorten(name, 28))


def object_colour(name: str, index: int) -> str:
    """The colour of an object in memory; states that nobody foresaw go round the palette."""
    return OBJECT_COLOURS.get(name, (VERMILION, GREEN, PURPLE, BLUE)[index % 4])


def axis(title: str, unit: str, values: Iterable[float | None] = ()) -> dict[str, Any]:
    """An axis in SI units whose ticks carry prefixes (0.02 s reads 20ms); logarithmic where values are far apart."""
    known = [v for v in values if v is not None]
    wide = bool(known) and min(known) > 0 and max(known) / min(known) > WIDE
    out: dict[str, Any] = {"title": {"text": title, "standoff": 12}, "type": "log" if wide else "linear",
                           "automargin": True}
    if wide:    # ticks at 1, 2 and 5, each written in full, which Plotly does not do for a unit
        ticks = _ticks(min(known), max(known))
        return {**out, "tickvals": ticks, "ticktext": [quantity(v, unit if unit in SCALED else "") for v in ticks]}
    return {**out, "tickformat": "~s", "ticksuffix": unit} if unit in SCALED else out


def _ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times the powers of ten about a range; only the powers where it is long."""
    first, last = floor(log10(low)), ceil(log10(high))
    steps = (1, 2, 5) if last - first <= 4 else (1,)
    return [float(f"{step}e{power}") for power in range(first, last + 1) for step in steps]


def metric_axis(name: str, values: Iterable[float | None]) -> dict[str, Any]:
    """The axis of a metric, with title and unit from the register."""
    title = metric_title(name).replace(" (", "<br>(")    # of the register, no one's name; in two lines for phones
    return axis(title, figure_of(name).unit, values)


def layout(x: dict[str, Any], y: dict[str, Any], height: int = 420) -> dict[str, Any]:
    """The layout that all figures share: legend above, so that it never covers the axis titles."""
    legend = {"orientation": "h", "x": 0, "y": 1.02, "yanchor": "bottom", "xanchor": "left"}
    return {"xaxis": x, "yaxis": y, "height": height, "margin": {"l": 8, "r": 16, "t": 24, "b": 8}, "legend": legend,
            "hovermode": "closest", "autosize": True}


def limit_line(name: str, limit: float, side: str, values: Iterable[float | None]) -> list[dict[str, Any]]:
    """A metric's limit across the axis `side`; none where it lies so far off that it would squeeze the points."""
    largest = max((v for v in values if v is not None), default=0.0)
    if limit > FAR * largest:
        return []
    other = "y" if side == "x" else "x"
    text = {"text": label(f"at most {quantity(limit, figure_of(name).unit)}"), "font": {"color": VERMILION}}
    # beside an upright line the text lies flat at its foot, on the side where there is room
    place = {"textposition": "end"} if side == "y" else {
        "textposition": "start", "textangle": 0, "xanchor": "left" if limit < 0.75 * largest else "right"}
    return [{"type": "line", "name": f"limit {name}", f"{side}ref": side, f"{side}0": limit, f"{side}1": limit,
             f"{other}ref": "paper", f"{other}0": 0, f"{other}1": 1, "label": {**text, **place},
             "line": {"color": VERMILION, "width": 1.5, "dash": "dash"}}]

"""The panels of the report, in the order a reader asks: which plan, why that fast, how near the machine, does it fit,
what if more users come."""

from __future__ import annotations

from typing import Any

from dse.model.evaluate import PHASES
from dse.report.front import front_figure, front_table
from dse.report.memory import memory_figure, memory_tables, memory_words
from dse.report.panel import Panel
from dse.report.roofline import roofline_figure, roofline_table
from dse.report.sweep import LATENCIES, sweep_figure, sweep_rows, sweep_table
from dse.report.waterfall import waterfall_figure, waterfall_table, waterfall_words

Document = dict[str, Any]


def chosen(result: Document) -> Document | None:
    """The document of the chosen plan; None where the front is empty."""
    found: Document | None = next((d for d in result["front"] if d["id"] == result["chosen"]), None)
    return found


def panels(result: Document) -> list[Panel]:
    """Every panel of a result."""
    plan = chosen(result)
    if plan is None:
        return [Panel("front", "Pareto front", "No plan met the constraints, so there is no front to draw.")]
    return [_front(result), _waterfall(plan), _roofline(plan), _memory(plan), _sweep(result)]


def _front(result: Document) -> Panel:
    text = ("Each marked plan is beaten by no other in every objective at once; the ring is the plan that the rest of "
            "this page is about. Faint points are feasible plans that some other plan beats.")
    return Panel("front", "Pareto front", text, {"front": front_figure(result)}, (front_table(result),))


def _waterfall(plan: Document) -> Panel:
    sums = "; ".join(waterfall_words(plan, phase) for phase in PHASES)
    text = (f"{sums}. Every second is charged to one operation and one resource; a resource's share says how much of "
            "the time a faster one would save: 1 % more of it saves that share of 1 %.")
    return Panel("waterfall", "Where the time goes", text, {p: waterfall_figure(plan, p) for p in PHASES},
                 tuple(waterfall_table(plan, p) for p in PHASES))


def _roofline(plan: Document) -> Panel:
    text = ("A point under the HBM slope waits for memory, one under a level line for arithmetic; the distance to the "
            "line is what launches, fixed times and imperfect kernels cost. Colour: the resource charged most.")
    return Panel("roofline", "Roofline", text, {"roofline": roofline_figure(plan)}, (roofline_table(plan),))


def _memory(plan: Document) -> Panel:
    text = f"In all, {memory_words(plan)}. The upright line is the capacity."
    return Panel("memory", "Memory", text, {"memory": memory_figure(plan)}, memory_tables(plan))


def _sweep(result: Document) -> Panel:
    title = "Throughput against latency"
    if not sweep_rows(result):
        return Panel("sweep", title, "This result holds no sweep over concurrency.")
    text = "The chosen plan as more users come; the number at a point is how many they are."
    return Panel("sweep", title, text, {f"sweep-{name}": sweep_figure(result, name) for name in LATENCIES},
                 (sweep_table(result),))

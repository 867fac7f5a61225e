"""The panels of the report, in the order a reader asks: which plan, what of another machine, what if more users come;
then of one plan: why that fast, how near the machine, does it fit, what does it cost, what would make it faster."""

from __future__ import annotations

from typing import Any

from dse.model.evaluate import PHASES
from dse.report.answers import answers
from dse.report.curves import curve_metrics, curves_figure, curves_table, title
from dse.report.differences import differences
from dse.report.elasticity import elasticities, elasticity_figure, elasticity_table
from dse.report.front import front_figure, front_table, landmark_table
from dse.report.memory import memory_figure, memory_tables, memory_words
from dse.report.panel import Panel
from dse.report.parallel import columns, parallel_figure, parallel_table
from dse.report.roofline import roofline_figure, roofline_table
from dse.report.schedule import schedule_figure, schedule_table, schedule_words
from dse.report.spending import causes, spending_figure, spending_table
from dse.report.sweep import LATENCIES, sweep_figure, sweep_rows, sweep_table
from dse.report.waterfall import waterfall_figure, waterfall_table, waterfall_words
from dse.report.words import figure_of

Document = dict[str, Any]


def chosen(result: Document) -> Document | None:
    """The document of the chosen plan; None where the front is empty."""
    found: Document | None = next((d for d in result["front"] if d["id"] == result["chosen"]), None)
    return found


def panels(result: Document) -> list[Panel]:
    """The panels of the whole result; those of a plan are `plan_panels`."""
    if chosen(result) is None:
        return [Panel("front", "Pareto front", "No plan met the constraints, so there is no front to draw.")]
    made = [differences(result["compared"])] if "compared" in result else []
    lone = len(result["front"]) == 1 and not result["counts"]["considered"]     # one plan that was asked for
    made += [] if lone else [_front(result)]
    return [*made, *answers(result), *_curves(result), *_parallel(result), *_sweep(result)]


def plan_panels(plan: Document) -> list[Panel]:
    """The panels of one plan, the same keys for every plan."""
    return [_waterfall(plan), _schedule(plan), _roofline(plan), _memory(plan), _spending(plan), _elasticity(plan)]


def _front(result: Document) -> Panel:
    text = "Click a plan, or choose it in the table: the second half of this page follows."
    if result["counts"]["considered"]:
        text = ("Each marked plan is beaten by no other in every objective at once. Faint points are feasible plans "
                f"that some other plan beats. {text}")
    tables = [front_table(result), *([landmark_table(result)] if result.get("landmarks") else [])]
    return Panel("front", "Pareto front" if result["counts"]["considered"] else "The plans", text,
                 {"front": front_figure(result)}, tuple(tables), {"front": "Two metrics of every plan"})


def _curves(result: Document) -> list[Panel]:
    made = []
    for i, sweep in enumerate(result.get("curves") or ()):
        metrics = curve_metrics(sweep, result["search"]["objectives"])
        if metrics:
            text = ("The best plan of each technique with only this one variable moved; the mark is its optimum. A "
                    "line stops where the plan does not fit or misses a target.")
            made.append(Panel(
                f"curves-{i}", f"One variable: {title(sweep)}", text,
                {f"curves-{i}-{m}": curves_figure(sweep, m) for m in metrics},
                tuple(curves_table(sweep, m) for m in metrics),
                {f"curves-{i}-{m}": f"{figure_of(m).title} by {title(sweep)}" for m in metrics}))
    return made


def _parallel(result: Document) -> list[Panel]:
    if len(result["front"]) < 2 or len(columns(result)) < 2:
        return []
    text = ("Every plan is a line; each upright is what differs between the plans: choices on the left, what came of "
            "them on the right.")
    return [Panel("parallel", "The plans side by side", text, {"parallel": parallel_figure(result)},
                  (parallel_table(result),),
                  {"parallel": "Choices and metrics of every plan"})]


def _sweep(result: Document) -> list[Panel]:
    heading = "Throughput against latency"
    if not result["counts"]["considered"]:
        return []
    if not sweep_rows(result):
        return [Panel("sweep", heading, "This result holds no sweep over concurrency.")]
    text = f"Plan {result['chosen']} as more users come; the number at a point is how many they are."
    return [Panel("sweep", heading, text, {f"sweep-{name}": sweep_figure(result, name) for name in LATENCIES},
                  (sweep_table(result),),
                  {f"sweep-{n}": f"Tokens per second and GPU by {figure_of(n).title}" for n in LATENCIES})]


def _waterfall(plan: Document) -> Panel:
    sums = "; ".join(waterfall_words(plan, phase) for phase in PHASES)
    text = f"{sums}. Every second is charged to one operation and one resource."
    return Panel("waterfall", "Where the time goes", text, {p: waterfall_figure(plan, p) for p in PHASES},
                 tuple(waterfall_table(plan, p) for p in PHASES),
                 {p: f"{p.capitalize()}: charged seconds of each operation" for p in PHASES})


def _schedule(plan: Document) -> Panel:
    heading = "One layer of the decode step"
    if not plan.get("layer"):
        return Panel("layer", heading, "This result holds no schedule of a layer.")
    return Panel("layer", heading, f"{schedule_words(plan)}.", {"layer": schedule_figure(plan)},
                 (schedule_table(plan),), {"layer": "What runs when, and what keeps each resource busy"})


def _roofline(plan: Document) -> Panel:
    text = ("A point under the HBM slope waits for memory, one under a level line for arithmetic; the distance to the "
            "line is what launches, fixed times and imperfect kernels cost. Colour: the resource charged most.")
    return Panel("roofline", "Roofline", text, {"roofline": roofline_figure(plan)}, (roofline_table(plan),),
                 {"roofline": "FLOP/s of each operation by FLOPs per byte"})


def _memory(plan: Document) -> Panel:
    text = f"In all, {memory_words(plan)}. The upright line is the capacity."
    return Panel("memory", "Memory", text, {"memory": memory_figure(plan)}, memory_tables(plan),
                 {"memory": "Bytes of each object against the capacity"})


def _spending(plan: Document) -> Panel:
    if not causes(plan):
        return Panel("cost", "Cost", "The catalogue has no price for this machine, so there is no cost to break down.")
    text = ("What a million output tokens cost, by cause. The chip's price is split by its bill of materials where it "
            "has one; idle hours are those of the year that are not sold.")
    return Panel("cost", "Where the money goes", text, {"cost": spending_figure(plan)}, (spending_table(plan),),
                 {"cost": "USD per million output tokens by cause"})


def _elasticity(plan: Document) -> Panel:
    shares = elasticities(plan)
    if not shares:
        return Panel("elasticity", "What would make it faster", "This result holds no breakdown of the time.")
    text = ("A resource's share of the charged time is what more of it saves: 1 % more HBM bandwidth shortens the "
            "decode step by its bar in per cent. Latency and engine are fixed times, which no rate shortens.")
    return Panel("elasticity", "What would make it faster", text, {"elasticity": elasticity_figure(shares)},
                 (elasticity_table(shares),), {"elasticity": "Per cent saved by 1 % more of each resource"})

"""Throughput against latency as more users come."""

from __future__ import annotations

from typing import Any

from dse.model.metrics import METRICS
from dse.report.panel import Table, number
from dse.report.style import BLUE, Figure, layout, limit_line, metric_axis
from dse.report.words import label, metric_value, quantity

Document = dict[str, Any]
THROUGHPUT = "output_tok_s_per_gpu"
LATENCIES = ("tpot_s", "ttft_s")


def sweep_rows(result: Document) -> list[Document]:
    """Concurrency and metrics of each step, whether the metrics stand beside the concurrency or in a table."""
    rows = [{**step, **step.get("metrics", {})} for step in result.get("sweep") or ()]
    return sorted(rows, key=lambda row: row["concurrency"])


def sweep_figure(result: Document, latency: str) -> Figure:
    """Tokens per second and GPU against a latency; each point says how many users."""
    rows = [r for r in sweep_rows(result) if r.get(latency) is not None and r.get(THROUGHPUT) is not None]
    x, y = [r[latency] for r in rows], [r[THROUGHPUT] for r in rows]
    hover = ["<br>".join(label(words) for words in (
        f"{quantity(r['concurrency'])} users",
        *(f"{METRICS[name].title} {metric_value(name, r)}" for name in (latency, THROUGHPUT)))) for r in rows]
    trace = {"type": "scatter", "mode": "lines+markers+text", "name": "users", "x": x, "y": y, "hoverinfo": "text",
             "text": [quantity(r["concurrency"]) for r in rows], "textposition": "top left", "hovertext": hover,
             "cliponaxis": False, "line": {"color": BLUE, "width": 1.5}, "marker": {"size": 8, "color": BLUE}}
    limit = result["search"]["limits"].get(latency)
    shape = {**layout(metric_axis(latency, x), metric_axis(THROUGHPUT, y)), "showlegend": False}
    lines = [] if limit is None else limit_line(latency, limit, "x", x)
    return {"data": [trace], "layout": {**shape, "shapes": lines}}


def sweep_table(result: Document) -> Table:
    """The steps of the sweep."""
    names = (THROUGHPUT, *LATENCIES)
    rows = tuple((number(row["concurrency"]), *(number(row.get(n), METRICS[n].unit) for n in names))
                 for row in sweep_rows(result))
    return Table("Throughput and latency by users", ("users", *(METRICS[n].title for n in names)), rows)

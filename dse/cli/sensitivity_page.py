"""The pages that `dse sensitivity` prints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from dse.cli import show
from dse.cli.evaluate_page import LABELS
from dse.model.metrics import METRICS

RESOURCES = {**LABELS, "latency": "fixed times", "engine": "engine's host", "capacity": "memory size"}
TELLING = ("ttft_s", "tpot_s", "output_tok_s_per_gpu", "usd_per_mtok", "joule_per_token")
"""Metrics that users choose by."""
PHASES = ("prefill_s", "decode_step_s")
MOST_CAUSES, MOST_PLANS = 3, 12
LEAST_SHARE, LEAST_ELASTICITY = 0.02, 5e-3
SHORT = {"ttft_s": "TTFT", "tpot_s": "TPOT", "output_tok_s_per_gpu": "tok/s/GPU", "usd_per_mtok": "$/Mtok",
         "joule_per_token": "J/tok", "prefill_s": "prefill", "decode_step_s": "decode step", "e2e_s": "E2E"}


def sensitivity_page(document: Mapping[str, Any]) -> Iterator[RenderableType]:
    """One plan: elasticities, spreads, and the constants behind them."""
    d = document
    yield Text(f"{d['model']} on {show.significant(d['gpus'])} x {d['hardware']} ({d['engine']})", style="bold")
    for line in d["violations"]:
        yield Text(f"infeasible: {line}", style="red")
    yield show.heading("1 % more of a resource changes, in %")
    yield elasticity_table(d["elasticities"])
    yield show.heading(f"Over {d['draws']:,} draws of the uncertain constants (seed {d['seed']})")
    yield _spreads(d["metrics"])
    yield show.heading("What that is owed to (shares of the variance)")
    yield show.pairs(_causes(d["metrics"]))
    yield show.heading("Uncertain constants: 80 % between")
    yield show.table(("constant", "times its value", "says who"), [
        (c["name"], f"{c['low']:.2f} to {c['high']:.2f}", c["origin"]) for c in d["constants"]], left=3)


def elasticity_table(elasticities: Mapping[str, Mapping[str, float]]) -> RenderableType:
    """Metrics x resources; a dash where one does not move the other."""
    metrics = [m for m in (*TELLING, *PHASES) if m in elasticities]
    names = [r for r in RESOURCES if any(abs(elasticities[m].get(r, 0.0)) >= LEAST_ELASTICITY for m in metrics)]
    return show.table(("", *(SHORT[m] for m in metrics)), [
        (RESOURCES[r], *(signed(elasticities[m].get(r)) for m in metrics)) for r in names])


def signed(value: float | None) -> str:
    """An elasticity with its sign."""
    return "-" if value is None or abs(value) < LEAST_ELASTICITY else f"{value:+.2f}"


def _spreads(metrics: Mapping[str, Any]) -> RenderableType:
    rows = [(METRICS[m].title, *(_figure(m, metrics[m][key]) for key in ("value", "p10", "p50", "p90")))
            for m in (*TELLING, *PHASES, "usd_per_hour") if m in metrics]
    return show.table(("", "predicted", "10 %", "50 %", "90 %"), rows)


def _figure(name: str, value: Any) -> str:
    if value is None:
        return show.UNBOUNDED
    return show.seconds(value) if METRICS[name].unit == "s" else show.significant(value)


def _causes(metrics: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for m in TELLING:
        if m in metrics:
            yield SHORT[m], in_words(metrics[m]["causes"])


def in_words(causes: Mapping[str, float]) -> str:
    """The constants with the largest shares."""
    told = [f"{name} {show.percent(share)}" for name, share in list(causes.items())[:MOST_CAUSES]
            if share >= LEAST_SHARE]
    return ", ".join(told) or "no constant stands out"


def contest_page(document: Mapping[str, Any]) -> Iterator[RenderableType]:
    """Whether the best plan of a front stays the best."""
    front = document["front"]
    title = METRICS[front["objective"]].title
    yield Text(f"Does the best plan change? {_plans(front)} under the same {document['draws']:,} draws",
               style="bold")
    yield show.pairs(_verdict(front, title))
    yield show.heading(f"{title[0].upper()}{title[1:]}, and how often a plan is the best")
    shown = sorted(front["plans"], key=lambda p: (p["number"] != 0, -p["best"]))[:MOST_PLANS]
    yield show.table(("#", "plan", "10 %", "50 %", "90 %", "in limits", "best"), [
        (str(p["number"]), p["plan"], *(_figure(front["objective"], p[q]) for q in ("p10", "p50", "p90")),
         show.percent(p["feasible"]), show.percent(p["best"])) for p in shown], left=2, wraps=False)
    yield Text("")


def _plans(front: Mapping[str, Any]) -> str:
    count = len(front["plans"])
    return f"{count} plan{'' if count == 1 else 's'}"


def _verdict(front: Mapping[str, Any], title: str) -> Iterator[tuple[str, str]]:
    chosen = front["plans"][0]
    yield "chosen", f"{chosen['plan']}: the best in {show.percent(front['kept'])} of the draws"
    by = f", by {show.percent(front['loss'])} of the {title} on average" if front["beaten"] else ""
    yield "another", (f"is the best in {show.percent(front['changes'])}: in {show.percent(front['missed'])} the chosen "
                      f"one misses a limit, in {show.percent(front['beaten'])} it is beaten{by}")
    if front["none_feasible"]:
        yield "none", f"meets the limits in {show.percent(front['none_feasible'])}"
    yield "decided by", in_words(front["causes"])

"""Where one cause takes over from another: the values at which two branches of a plan's time are equal.

Each is found on the evaluated model; where a closed form says it too, the words have it. Only those that apply to a
plan are told: without offloading there is no link that could pay for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from dse.equations.roofline import ridge_point
from dse.errors import InputError
from dse.model.deployment import Deployment
from dse.model.evaluate import Evaluation, evaluate
from dse.model.hiding import nodes
from dse.model.memory import sequence_bytes
from dse.model.merits import plain_number
from dse.model.phases import decode_step, requests_of
from dse.model.spans import Span, own_times
from dse.model.steps import prefill
from dse.model.system import link_rate, vector_peak
from dse.plan.formats import element_bytes
from dse.plan.plan import document, plan_from_document
from dse.search.whatif import VARIABLES, Target, solve

MOST_BATCH, MOST_CONTEXT = 2.0**17, 2.0**21
POINTS = 120
ENDLESS = 1e15
"""Bytes of a cache that bounds nothing."""
PRODUCTS = ("qkv", "out", "mlp", "shared", "experts", "head")
"""Operations that multiply by weights."""
LINKS = {"host_link": "host memory", "disk_link": "disk", "network": "another node"}


@dataclass(frozen=True, slots=True)
class Crossover:
    """value: None where the branches never meet, and the words say which wins. closed: what a closed form says."""

    name: str
    title: str
    value: float | None
    unit: str
    words: str
    closed: float | None = None


def crossovers(e: Evaluation) -> list[Crossover]:
    """Those that apply to one plan (no arrays)."""
    return [*_compute_bound(e), *_offloading(e), *_recomputing(e), *_prefetching(e)]


def crossovers_document(found: Sequence[Crossover]) -> list[dict[str, Any]]:
    """As plain values."""
    return [asdict(c) for c in found]


def _root(excess: Callable[[Any], Any], low: float, high: float) -> float | None:
    """The first value in between at which the excess is no longer positive; None where there is none."""
    grid = np.geomspace(low, high, POINTS)
    values = np.array([float(excess(x)) for x in grid])
    met = np.flatnonzero((values[1:] <= 0) & (values[:-1] > 0))
    if not met.size:
        return None
    from scipy.optimize import brentq

    return float(brentq(lambda x: float(excess(x)), grid[met[0]], grid[met[0] + 1], rtol=1e-12))


def step_seconds(e: Evaluation, batch: float, products: bool) -> tuple[float, float]:
    """Own seconds on compute and on HBM of a decode step of so many sequences; of its matrix products, or of all."""
    own = own_times(decode_step(e.deployment, requests_of(e.deployment, e.traffic), batch))
    kept = [(resource, float(s)) for (name, resource), s in own.items() if not products or name in PRODUCTS]
    compute, memory = (sum(s for resource, s in kept if resource == wanted) for wanted in ("compute", "hbm"))
    return compute, memory


def _compute_bound(e: Evaluation) -> Iterator[Crossover]:
    def excess(products: bool) -> Callable[[float], float]:
        def of(batch: float) -> float:
            compute, memory = step_seconds(e, batch, products)
            return memory - compute
        return of

    d, gemm, chip = e.deployment, e.deployment.system.kernels.gemm, e.deployment.system.chip
    found, closed = _root(excess(True), 1.0, MOST_BATCH), _ridge_batch(d)
    said = "" if closed is None else (
        f"; a roofline alone says {closed:.3g}: {gemm.efficiency:.2f} x {float(vector_peak(chip)) / 1e12:.0f} TFLOP/s "
        f"over {gemm.memory_efficiency:.2f} x {float(chip.memory_bandwidth) / 1e12:.3g} TB/s, x bytes of a weight / 2")
    words = (f"sequences of a replica at which computing the decode step's matrix products takes as long as reading "
             f"their weights{said}" if found is not None else "the matrix products are bound by one of the two at any "
             f"batch{said}")
    yield Crossover("decode_products", "decode's products turn compute-bound", found, "", words, closed)
    whole = _root(excess(False), 1.0, MOST_BATCH)
    yield Crossover("decode_step", "the whole step turns compute-bound", whole, "",
                    "sequences of a replica, attention's reads included" if whole is not None else
                    f"at no batch up to {MOST_BATCH:,.0f}: reading keys and values grows with the batch as computing "
                    "does")


def _ridge_batch(d: Deployment) -> float | None:
    """Rows at which a product of 16-bit weights leaves the roofline's memory slope, by its fitted shares."""
    chip, gemm, formats = d.system.chip, d.system.kernels.gemm, d.formats
    if not isinstance(formats.mlp_weights, str) or formats.mlp_weights not in ("bf16", "fp16"):
        return None
    ridge = ridge_point(gemm.efficiency * vector_peak(chip), gemm.memory_efficiency * chip.memory_bandwidth)
    each = 1.0 + float(d.plan.chance.draft_tokens)
    return float(ridge * element_bytes(formats.mlp_weights) / 2 / each)


def _offloading(e: Evaluation) -> Iterator[Crossover]:
    """Link rates at which offloading is hidden, and at which it pays."""
    host = e.system.node.host
    own = {r: float(s) for (_, r), s in own_times(e.spans["decode"]).items() if r == "host_link"}
    if host is None or not own:
        return
    link = VARIABLES["host_link"]
    now = float(link.now(e))
    rest = float(link.at(e, now * 1e9).spans["decode"].time)
    busy = host_seconds(e)
    yield Crossover("offload_hidden", "the host link sets the pace", now * busy / rest, "B/s",
                    f"link rate below which the transfers of a decode step take longer than all else ({rest * 1e3:.4g} "
                    "ms); today's rate x their seconds / these", now * busy / rest)
    without = _without_offload(e)
    if not without.feasible:
        yield Crossover("offload_pays", "offloading pays", None, "B/s", "at any link rate: without it the plan does "
                        "not fit")
        return
    most = float(without.metrics["output_tok_s"] or 0.0)
    answer = solve(e, Target("output_tok_s", most), link)
    yield Crossover("offload_pays", "offloading pays", answer.value, "B/s", (
        "link rate from which on this plan yields as many tokens per second as without offloading"
        if answer.value is not None else "at no link rate: without offloading the plan fits and yields more"))


def host_seconds(e: Evaluation) -> float:
    """Seconds that a decode step keeps the host link busy."""
    return sum(float(s) for (_, r), s in own_times(e.spans["decode"]).items() if r == "host_link")


def _without_offload(e: Evaluation) -> Evaluation:
    plan = plan_from_document({k: v for k, v in document(e.plan).items() if k != "placement"}, "")
    return evaluate(e.model, e.system, plan, e.traffic)


def _recomputing(e: Evaluation) -> Iterator[Crossover]:
    """Contexts at which computing a prompt's cache again stops being faster than fetching it."""
    d = e.deployment.prefills
    for link, words in LINKS.items():
        try:
            rate = float(link_rate(d.system, link))
        except (InputError, TypeError):
            continue

        tokens = np.geomspace(16.0, MOST_CONTEXT, POINTS)
        again, fetched = (np.broadcast_to(t, tokens.shape) for t in cache_seconds(d, tokens, rate))
        title = f"recomputing beats {words}"
        faster = np.flatnonzero(again < fetched)
        if not faster.size:
            best = int(np.argmin(again / fetched))
            yield Crossover(f"recompute_{link}", title, None, "", f"at no context: at {tokens[best]:,.0f} tokens "
                            f"computing takes {again[best] / fetched[best]:.3g} times as long as fetching at "
                            f"{rate / 1e9:.4g} GB/s")
        elif faster[-1] == len(tokens) - 1:
            yield Crossover(f"recompute_{link}", title, None, "", f"at all contexts from {tokens[faster[0]]:,.0f} on")
        else:
            yield _stops(d, link, title, rate, float(tokens[faster[-1]]), float(tokens[faster[-1] + 1]))


def _stops(d: Deployment, link: str, title: str, rate: float, low: float, high: float) -> Crossover:
    from scipy.optimize import brentq

    def excess(tokens: float) -> float:
        again, fetched = cache_seconds(d, tokens, rate)
        return float(again - fetched)

    value = float(brentq(excess, low, high, rtol=1e-12))
    return Crossover(f"recompute_{link}", title, value, "", f"tokens of context at which it stops paying: fetching at "
                     f"{rate / 1e9:.4g} GB/s is faster beyond")


def cache_seconds(d: Deployment, tokens: Any, rate: float) -> tuple[Any, Any]:
    """Seconds to compute the cache of a prompt, and to fetch a device's part of it at a rate."""
    return plain_number(prefill(d, tokens).time), plain_number(sequence_bytes(d, tokens) / rate)


def _prefetching(e: Evaluation) -> Iterator[Crossover]:
    """The cache size beyond which a prefetch hides no more."""
    if not any(edge.buffer == "l2" for edge in e.plan.overlap):
        return
    most = hidden_seconds(_roomier(e, ENDLESS).spans["decode"])
    if not most:
        return
    size = float(e.system.chip.cache_bytes)

    def excess(cache: float) -> float:
        return most * (1 - 1e-9) - hidden_seconds(_roomier(e, cache - size).spans["decode"])

    found = _root(excess, 1e3, 1e12)
    if found is not None:
        yield Crossover("prefetch_saturated", "prefetch is saturated", found, "B", "on-chip cache beyond which the "
                        f"windows, not the buffer, bound what is prefetched; today's is {size / 1e6:.4g} MB, and what "
                        "stays in it between kernels is left as it is")


def _roomier(e: Evaluation, more: float) -> Evaluation:
    """The same with a larger buffer for overlaps in the cache, and nothing else changed."""
    chip = replace(e.system.chip, cache_reserved=e.system.chip.cache_reserved - more)
    return evaluate(e.model, replace(e.system, node=replace(e.system.node, chip=chip)), e.plan, e.traffic)


def hidden_seconds(span: Span) -> float:
    """Seconds that overlaps took out of the tree's operations, each counted once."""
    return sum(float(s) for node in nodes(span) for _, s in node.gone)

"""What `--explain` adds: own times, the constants behind the figures and their files, and what nobody verified."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from rich.console import RenderableType

from dse.catalogue import calibration, paths
from dse.catalogue.files import read_toml
from dse.catalogue.parts import ACCELERATORS
from dse.catalogue.settings import FACTS
from dse.cli import show
from dse.model.evaluate import PHASES, Evaluation
from dse.model.machine import Chip, Fact
from dse.model.spans import own_times
from dse.model.system import System

USED = frozenset((*FACTS.values(), "scale_up.usable_share", "scale_out.oversubscription", "host.memory_shared_by"))
"""Figures of a chip that predictions read, beside its price."""
CHARGES = ("Charged times sum to the phase, and a resource's share is what 1 % of its rate buys; own times may "
           "overlap.")
FIT = ("The laws see the iterations through an affine fit: a decode iteration of B sequences takes a fixed time plus B "
       "times a slope, exact at the running batch and at half of it and a straight line elsewhere; a prompt adds one "
       "amount of work to the iterations it is in.")
POLICIES = {
    "mixed": "prompts share iterations with decodes",
    "prompt_first": "prompts have iterations of their own, during which decodes wait",
    "disaggregated": "prompts are computed by replicas of their own, which hand the cache over",
}
LOADS = {
    "batch": "A batch that always decodes has no queue: each finished sequence is replaced, and its prompt is paid for "
             "by all. Its TTFT is one lone prefill.",
    "concurrency": "Users are a closed loop, steady or a number of requests each from a common start: how far they are "
                   "out of step says how many prompts meet, and who finds no place in the batch waits. Of a closed "
                   "loop there are means only, no quantiles.",
    "rate": "A rate is an open loop: Little's law gives the batch, found by iteration; prompts wait for the iteration "
            "under way, for those ahead and for a place. Quantiles follow from mean and deviation: gamma above the "
            "least possible TTFT, log-normal for TPOT and the time to last token. The law is weak above a load of 0.8 "
            "of saturation, where P99 runs 20 % low, and nobody checked it beyond an arrival cv2 of 8.",
}


def explanation(e: Evaluation) -> Iterator[RenderableType]:
    """Everything below the ordinary page."""
    from dse.cli.evaluate_page import charge_table

    for phase in PHASES:
        title = f"{phase.capitalize()}: own time of each resource, overlapping"
        yield from charge_table(title, own_times(e.spans[phase]), sums=False)
    yield show.heading("Constants")
    yield show.table(("constant", "value"), _constants(e.system))
    yield show.heading("From")
    yield show.pairs(_files(e.system))
    yield show.heading("How to read it")
    yield show.pairs([("charges", CHARGES), ("queueing", laws(e)), ("fit", FIT), ("overheads", overheads(e))])
    yield from _unverified(e.system)


def laws(e: Evaluation) -> str:
    """How the line is predicted: the engine's policy and the law of the load."""
    policy = e.system.engine.policy if e.plan.batching.policy is None else e.plan.batching.policy
    how = POLICIES["disaggregated" if e.deployment.prefill_engines is not None else policy]
    return f"Closed forms of continuous batching, no simulation; {how}. {LOADS[e.traffic.load[0]]}"


def overheads(e: Evaluation) -> str:
    """What the engine adds outside iterations under this traffic."""
    engine, kind = e.system.engine, e.traffic.load[0]
    if kind == "batch":
        return "none beside the host work of iterations"
    parts = [f"{show.seconds(engine.request + engine.request_token * e.traffic.input_tokens)} of host work before each "
             "prompt"]
    if kind == "concurrency":
        parts.append(f"{float(engine.lost_steps):.3g} decode iterations lost between an answer and the next "
                     "admission")
    if e.traffic.waves is not None:
        parts.append(f"{show.seconds(engine.burst)} between two starts of the opening")
    return "; ".join(parts) + ": in TTFT, with the figures above"


def _constants(system: System) -> Iterator[tuple[str, str]]:
    """The fitted constants that matter most."""
    k, engine = system.kernels, system.engine
    yield "matrix products: share of peak", show.significant(k.gemm.efficiency)
    yield "matrix products: share of HBM rate", show.significant(k.gemm.memory_efficiency)
    yield "matrix products: launch floor", show.seconds(k.gemm.launch)
    yield "decode attention: share of HBM rate", show.significant(k.decode.memory_efficiency)
    yield "prefill attention: share of peak", show.significant(k.prefill.efficiency)
    yield "collectives: start, each step", f"{show.seconds(k.collectives.base)}, {show.seconds(k.collectives.hop)}"
    yield "collectives: share of link rate", show.significant(k.collectives.efficiency)
    yield f"{engine.name}: host work of an iteration", show.seconds(engine.iteration)
    yield f"{engine.name}: host work of a sequence", show.seconds(engine.sequence)
    yield f"{engine.name}: host work before a prompt", show.seconds(engine.request)
    yield f"{engine.name}: host work of a prompt token", show.seconds(engine.request_token)
    yield f"{engine.name}: host work between starts at once", show.seconds(engine.burst)
    yield f"{engine.name}: iterations lost between requests", show.significant(engine.lost_steps)
    yield f"{engine.name}: tokens of an iteration", show.significant(engine.budget)
    yield f"{engine.name}: share of memory it fills", show.significant(engine.memory_share)


def _files(system: System) -> Iterator[tuple[str, str]]:
    """Every file of constants, the later overriding the earlier, with the source it states."""
    chip = system.chip
    own = [name for name in (chip.calibrated_as, chip.name) if name in paths.names(calibration.FOLDER)]
    for name in ("default", f"class-{chip.kernel_class}", *own[:1]):
        yield _with_source(f"{calibration.FOLDER}/{name}.toml", paths.find(calibration.FOLDER, name))
    if not own:
        yield "", f"nobody measured {chip.name}: its constants are those of its class"
    engine = system.engine.name
    yield _with_source(f"{calibration.ENGINES}/{engine}.toml", paths.find(calibration.ENGINES, engine))
    yield "hardware/economics/datacentre.toml", "each figure has its own source: dse catalogue show datacentre"
    catalogued = chip.name in paths.names(ACCELERATORS)
    yield chip.name, "each figure has its own source: " + (
        f"dse catalogue show {chip.name}" if catalogued else "in your own file")


def _with_source(shown: str, path: Path) -> tuple[str, str]:
    return shown, str(read_toml(path).get("source", show.UNKNOWN))


def unverified(chip: Chip, cost_basis: str) -> Mapping[str, Fact]:
    """Figures of the chip that a prediction reads and that nobody read in a document."""
    prices = {"owned": "price.device", "rented": "price.rent"}
    used = USED - set(prices.values()) | {prices.get(cost_basis, "")}
    return {key: fact for key, fact in chip.facts.items() if not fact.verified and key in used}


def _unverified(system: System) -> Iterator[RenderableType]:
    basis = "given" if system.usd_per_gpu_hour is not None else system.cost_basis
    facts = dict(unverified(system.chip, basis))
    if basis == "owned":
        facts |= {f"economics.{k}": f for k, f in system.economics.facts.items() if not f.verified}
    yield show.heading(f"Unverified figures in use ({len(facts)}): recalled or assumed")
    yield show.table(("figure", "value", "note"), [
        (key, show.with_prefix(fact.value, fact.unit), fact.note) for key, fact in facts.items()], left=3)

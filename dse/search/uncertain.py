"""What a prediction rests on and nobody knows exactly: each constant with its spread, and where the spread is from.

A constant is multiplied by a log-normal factor: its median is the value in use, 80 % of it lie between `low` and
`high`. Ranges are those of the catalogue's facts, spreads those of laws on rows no fit saw (hardware/calibration).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import exp, log

from dse.catalogue.processes import DEFAULT_PACKAGING, packaging_facts, process_facts
from dse.errors import InputError, nearest
from dse.model.evaluate import Evaluation
from dse.model.intervals import FULL, SCORE, TAILS, law_spread, laws_behind
from dse.model.machine import Fact
from dse.model.moved import moved_silicon
from dse.model.system import System

LENGTH_SPREAD = 0.1
"""Spread of mean lengths where nobody states one: forecasts of traffic are rarely better."""
LENGTHS = ("input_tokens", "output_tokens")
CHIP_FACTS = {"chip.memory_bandwidth": "memory.bandwidth", "chip.peak": "peak.bf16",
              "chip.scale_up.bandwidth": "scale_up.bandwidth", "chip.scale_out.bandwidth": "scale_out.bandwidth",
              "host.link_bandwidth": "host.bandwidth"}
"""Figures of a chip that are drawn, and the catalogue's facts behind them."""


@dataclass(frozen=True, slots=True)
class Uncertain:
    """A constant: the ends of its 80 % interval over the value in use, and who says so."""

    name: str
    low: float
    high: float
    origin: str

    @property
    def slopes(self) -> tuple[float, float]:
        """Logarithm of the factor for one standard deviation down and up."""
        return -log(self.low) / SCORE, log(self.high) / SCORE


def uncertain(plans: Sequence[Evaluation], spreads: Mapping[str, float]) -> tuple[tuple[Uncertain, ...], ...]:
    """Every constant that each plan's metrics depend on. spreads: standard deviations of logarithms in place of known
    ones, by name; 0 leaves one out.
    """
    known = [{u.name: u for u in (*_laws(e), *_facts(e.system), *_money(e.system), *_silicon(e.system), *_lengths(e))}
             for e in plans]
    names = dict.fromkeys(name for found in known for name in found)
    for name in spreads:
        if name not in names:
            raise InputError(f"--spread {name[:60]}", "is no constant that the prediction rests on",
                             nearest(name, names))
    made = [{name: _spread(name, spreads[name], "given") if name in spreads else u for name, u in found.items()}
            for found in known]
    return tuple(tuple(u for u in found.values() if u.low != 1 or u.high != 1) for found in made)


def _spread(name: str, spread: float, origin: str) -> Uncertain:
    return Uncertain(name, exp(-SCORE * spread), exp(SCORE * spread), origin)


def _laws(e: Evaluation) -> Iterator[Uncertain]:
    """Errors of the kernel laws behind the plan, and what they leave unexplained of measured serving."""
    known = e.system.uncertainty.serving.get(e.system.engine.name)
    if known is None:
        return
    for law in laws_behind(e):
        yield _spread(f"law.{law}", law_spread(e.system, law), "kernels that no fit saw")
    for metric, spread in known.items():
        yield _spread(f"serving.{metric}", spread, f"serving of {e.system.engine.name} that no fit saw")
    yield _spread("serving.full", FULL, "whether places run out")
    if e.traffic.rate is not None:
        for (metric, quantile), spread in TAILS.items():
            yield _spread(f"serving.{metric}_{quantile}", spread, "laws against a simulator")


def _facts(system: System) -> Iterator[Uncertain]:
    for name, key in CHIP_FACTS.items():
        fact = system.chip.facts.get(key)
        if fact is None or (name.startswith("host") and system.node.host is None):
            continue
        if fact.low < fact.high:
            yield _range(name, fact)
        elif not fact.verified:
            yield _spread(name, system.uncertainty.unverified, "a figure that nobody read")


def _range(name: str, fact: Fact) -> Uncertain:
    return Uncertain(name, fact.low / fact.value, fact.high / fact.value,
                     f"{fact.low:,.6g} to {fact.high:,.6g} {fact.unit}".rstrip() + f" ({fact.source})")


def _money(system: System) -> Iterator[Uncertain]:
    """The price of a device-hour and what it follows from."""
    if system.usd_per_gpu_hour is not None:
        return
    rented = system.cost_basis == "rented"
    name, key = ("chip.rent_usd_per_hour", "price.rent") if rented else ("chip.price_usd", "price.device")
    prices = {name: system.chip.facts.get(key)}
    economics = {} if rented else {f"economics.{k}": fact for k, fact in system.economics.facts.items()}
    for label, fact in {**prices, **economics}.items():
        if fact is not None and 0 < fact.low < fact.high:
            yield _range(label, fact)
        elif fact is not None and not fact.verified:
            yield _spread(label, system.uncertainty.unverified, "a figure that nobody read")


def _silicon(system: System) -> Iterator[Uncertain]:
    """What a changed design costs: wafers, yield, memory, packaging. The catalogue's own design has its price."""
    silicon = moved_silicon(system.chip)
    if silicon is None:
        return
    memory = silicon.design.memory_type
    facts: dict[str, Fact] = {f"process.{k}": f for k, f in process_facts(silicon.process.name).items()
                              if k.startswith("wafer.")}
    facts |= {f"packaging.{k}": f for k, f in packaging_facts(DEFAULT_PACKAGING).items()
              if k in (f"cost.{memory}", "cost.package_usd_per_mm2", "cost.bond_yield", "cost.test_share")}
    for name, fact in facts.items():
        if 0 < fact.low < fact.high:
            yield _range(name, fact)


def _lengths(e: Evaluation) -> Iterator[Uncertain]:
    for name in LENGTHS:
        if float(getattr(e.traffic, name)) > 1:
            yield _spread(name, LENGTH_SPREAD, "assumed")

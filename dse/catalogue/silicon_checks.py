"""The silicon model against chips that exist: derived area and real, bill of materials and published, power and TDP."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from dse.catalogue import hardware, parts
from dse.catalogue.processes import packaging_facts, packaging_from, process_facts, process_from
from dse.errors import InputError
from dse.model.machine import Chip, Fact
from dse.model.power import load_powers
from dse.model.silicon import Process, Silicon, bill, blocks

AREA_TOLERANCE = {"a100_80g_sxm": 0.001, "h100_sxm": 0.12}
"""Chips whose area the model claims to give: the A100's die photo calibrates it, the H100 checks the scaling."""
BILL_TOLERANCE = 0.2
"""By how much two published sets of one publisher differ: the range of a published bill that states none."""
FULL_LOAD = ("a100_80g_sxm", "h100_sxm", "b200_sxm", "mi300x")


@dataclass(frozen=True, slots=True)
class Compared:
    """A derived figure beside a real one; claimed: whether the model promises to agree."""

    item: str
    check: str
    expected: str
    found: str
    agrees: bool
    claimed: bool


def silicon_checks() -> list[Compared]:
    """Every chip that has a silicon model and something real to compare it with."""
    return [row for name in hardware.chip_names() for row in _of_chip(name)]


def _of_chip(name: str) -> Iterator[Compared]:
    try:
        chip = hardware.load_chip(name)
    except InputError:
        return                          # reported as a file that does not load
    if chip.silicon is None:
        return
    yield from _area(name, chip, chip.silicon)
    yield from _bill(name, chip, chip.silicon)
    if name in FULL_LOAD and chip.tdp_w is not None:
        yield from _power(name, chip, chip.silicon, float(chip.tdp_w))


def _area(name: str, chip: Chip, s: Silicon) -> Iterator[Compared]:
    real = chip.facts.get("die_mm2")
    if real is None:
        return
    derived = float(sum(blocks(s).values()))
    off, most = derived / real.value - 1, AREA_TOLERANCE.get(name)
    within = f" within {100 * most:g} %" if most is not None else _range(real, "mm2")
    yield Compared(f"{parts.ACCELERATORS}/{name}", "die area", f"{real.value:,.0f} mm2{within}",
                   f"{derived:,.0f} mm2, {100 * off:+.1f} %", most is None or abs(off) <= most, most is not None)


def _bill(name: str, chip: Chip, s: Silicon) -> Iterator[Compared]:
    said = chip.facts.get("price.manufacturing")
    if said is None:
        return
    low, high = (said.low, said.high) if said.low < said.high else (said.value * (1 - BILL_TOLERANCE),
                                                                  said.value * (1 + BILL_TOLERANCE))
    derived = float(bill(s))
    yield Compared(f"{parts.ACCELERATORS}/{name}", "bill of materials",
                   f"{said.value:,.0f} USD, {low:,.0f} to {high:,.0f}",
                   f"{derived:,.0f} USD, {100 * (derived / said.value - 1):+.1f} %", low <= derived <= high, True)


def _power(name: str, chip: Chip, s: Silicon, tdp: float) -> Iterator[Compared]:
    """Rest and work of a large product at its best measured share of the peak, and of streaming, against the TDP."""
    ends = {end: replace(s, process=_process(s.process, end), io_process=_process(s.io_process, end),
                         packaging=packaging_from(_end(packaging_facts("interposer"), end, "power.")))
            for end in ("low", "high")}
    shares = [fact.value for key, fact in chip.facts.items() if key.startswith("matrix_share.")]
    share = max(shares) if shares else None
    for load, watts in load_powers(s, tdp, share).items():
        low, high = (float(load_powers(ends[end], tdp, share)[load]) for end in ("low", "high"))
        yield Compared(f"{parts.ACCELERATORS}/{name}", f"power of a {load}", f"at most the TDP, {tdp:,.0f} W",
                       f"{float(watts):,.0f} W, {low:,.0f} to {high:,.0f}", float(watts) <= tdp, True)


def _process(p: Process, end: str) -> Process:
    return process_from(p.name, _end(process_facts(p.name), end, "energy."))


def _end(facts: Mapping[str, Fact], end: str, table: str) -> dict[str, float]:
    """The figures with those of one table at an end of their ranges."""
    return {key: getattr(fact, end) if key.startswith(table) else fact.value for key, fact in facts.items()}


def _range(fact: Fact, unit: str) -> str:
    return "" if fact.low == fact.high else f", {fact.low:,.0f} to {fact.high:,.0f} {unit}"

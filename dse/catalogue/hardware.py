"""Chips, nodes, links and prices from hardware/, checked, in SI."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from dse.catalogue import designs, paths, variants
from dse.catalogue.figures import facts_of
from dse.catalogue.files import read_based, read_toml, validate
from dse.catalogue.parts import ACCELERATORS, LINKS, SYSTEMS, TIERS, load_part, locate
from dse.catalogue.schema import Accelerator, EconomicsFile, System
from dse.errors import InputError
from dse.model.machine import Chip, Economics, Fabric, Fact, Host, Node

FLOP_PER_SM_CLOCK = 4096  # dense 16-bit FLOP of one Hopper SM: the unit in which chips built otherwise are counted
SM_LIKE = ("SM", "CU")
DEVICES_PER_HOST = 8
UNBOUNDED = 1 << 20  # devices a scale-out network joins: the sources name no bound
DEFAULT_HOST = "host_8gpu_default"
DEFAULT_PROCESSOR = "spr_8480"  # two a host, as in DGX H100
DEFAULT_DISK = "nvme_gen4"  # one drive a device
DISK_BYTES = 3.84e12  # of a common drive


def chip_names() -> list[str]:
    """Every chip of the catalogue."""
    return paths.names(ACCELERATORS)


def system_names() -> list[str]:
    """Every system of the catalogue."""
    return paths.names(SYSTEMS)


def load_chip(name_or_path: str | Path) -> Chip:
    """A chip by its catalogue name, or from a file (a path, or anything that ends in .toml).

    A file may say `base = "h100_sxm"` and then only what differs; a figure it states replaces the base's whole, and
    other cores, cache, stacks or links in its [design] move what follows from them.
    """
    path = locate(ACCELERATORS, name_or_path)
    document = read_based(path, _find_chip)
    own = read_toml(path)
    base = own.get("base")
    if base is not None:
        under = path.parent / base if base.endswith(".toml") else _find_chip(base, f"{path}: base")
        document = variants.without_moves(document, read_based(under, _find_chip), own)
        if not base.endswith(".toml"):
            document.setdefault("calibrated_as", base)
    document, described = designs.completed(document, path)
    file = validate(Accelerator, document, str(path))
    facts = facts_of(file, file.sources, str(path))
    if not any(f"peak.{number}" in facts for number in ("bf16", "fp16")):
        raise InputError(f"{path}: peak", "has neither bf16 nor fp16, expected at least one of them")
    if file.host is not None and file.host.link is not None:
        facts |= _link_facts(file.host.link, facts, f"{path}: host.link")
    chip = designs.with_silicon(_chip(file, facts, path), file, path, described)
    return chip if base is None else variants.variant(chip, own, file.sources, path)


def load_node(name_or_path: str | Path) -> Node:
    """A node of a system by its catalogue name or from a file."""
    path = locate(SYSTEMS, name_or_path)
    file = validate(System, read_toml(path), str(path))
    facts = facts_of(file, file.sources, str(path))
    chip = load_chip(path.parent / file.chip if file.chip.endswith(".toml") else _find_chip(file.chip, f"{path}: chip"))
    gpus = _count(facts, "gpus_per_node", path)
    chip = _in_system(chip, file, facts, path)
    memory = (facts["host.memory_bandwidth"].value / gpus, facts["host.memory_capacity"].value / gpus)
    return Node(file.name, file.title, chip, gpus, _host(chip, *memory), facts["scale_out.oversubscription"].value)


def default_node(chip: Chip) -> Node:
    """The node a bare chip is taken to sit in: up to eight devices, full bisection, a common dual-socket host.

    A host that the chip's own file describes (Grace, a measured node) wins over the common one.
    """
    gpus = DEVICES_PER_HOST if _is_card(chip) else min(chip.scale_up.domain, DEVICES_PER_HOST)
    if _is_card(chip) and chip.scale_up.topology == "none":
        chip = replace(chip, scale_up=replace(chip.scale_up, domain=gpus))     # peers of a node meet over PCIe
    common = load_part(TIERS, DEFAULT_HOST)
    shared_by = _value(chip.facts, "host.memory_shared_by", DEVICES_PER_HOST)
    memory = _value(chip.facts, "host.memory_capacity", common["capacity"].value * shared_by / DEVICES_PER_HOST)
    bandwidth = chip.host_memory_bandwidth
    if bandwidth is None:
        bandwidth = common["bandwidth"].value / DEVICES_PER_HOST
    host = _host(chip, bandwidth, memory / shared_by)
    oversubscription = 1.0 if chip.scale_out is None else chip.scale_out.oversubscription
    return Node(chip.name, chip.title, chip, gpus, host, oversubscription)


def _is_card(chip: Chip) -> bool:
    """Whether a host takes eight of it in PCIe slots: its peers are reached over PCIe, or are one across a bridge."""
    peer, host = _value(chip.facts, "scale_up.bandwidth"), _value(chip.facts, "host.bandwidth")
    return chip.scale_up.domain == 2 or (chip.scale_up.topology == "none" and peer is not None and peer == host)


def load_economics(name_or_path: str | Path = "datacentre") -> Economics:
    """The constants of owning: server, network, building, energy, life."""
    path = locate("hardware/economics", name_or_path)
    file = validate(EconomicsFile, read_toml(path), str(path))
    facts = facts_of(file, file.sources, str(path))
    values = {f.name: facts[f.name].value for f in fields(Economics) if f.name != "facts"}
    return Economics(**values, facts=facts)


def _find_chip(name: str, where: str) -> Path:
    try:
        return paths.find(ACCELERATORS, name)
    except InputError as problem:
        raise InputError(where, problem.message, problem.hint) from None


def _value(facts: Mapping[str, Fact], key: str, default: Any = None) -> Any:
    return facts[key].value if key in facts else default


def _count(facts: Mapping[str, Fact], key: str, path: Path) -> int:
    value = facts[key].value
    if value < 1 or value != int(value):
        raise InputError(f"{path}: {key}", f"{value:g} is no count, expected a whole number from 1")
    return int(value)


def _chip(file: Accelerator, facts: Mapping[str, Fact], path: Path) -> Chip:
    clock = facts["cores.clock"].value
    peak = {key.removeprefix("peak."): fact.value for key, fact in facts.items() if key.startswith("peak.")}
    shared_by = _value(facts, "host.memory_shared_by", DEVICES_PER_HOST)
    memory_bandwidth = _value(facts, "host.memory_bandwidth")
    if file.cores.kind.value in SM_LIKE:
        cores: float = _count(facts, "cores.count", path)
    else:
        cores = peak.get("bf16", peak.get("fp16", 0.0)) / (clock * FLOP_PER_SM_CLOCK)
    return Chip(
        name=file.name,
        title=file.title,
        vendor=file.vendor,
        kernel_class=file.kernel_class.value,
        peak=peak,
        clock=clock,
        matrix_clock=_value(facts, "cores.matrix_clock", clock),
        cores=cores,
        exp_rate=facts["cores.exp_per_clock"].value,
        memory_bytes=facts["memory.capacity"].value,
        memory_bandwidth=facts["memory.bandwidth"].value,
        memory_stacks=_value(facts, "memory.stacks"),
        cache_bytes=facts["cache.capacity"].value,
        cache_bandwidth=facts["cache.bandwidth"].value,
        tdp_w=_value(facts, "power.tdp"),
        scale_up=_scale_up(file, facts, path),
        scale_out=_scale_out(facts),
        host_link_bandwidth=_value(facts, "host.bandwidth"),
        host_memory_bandwidth=None if memory_bandwidth is None else memory_bandwidth / shared_by,
        price_usd=_value(facts, "price.device"),
        rent_usd_per_hour=_value(facts, "price.rent"),
        die_mm2=_value(facts, "die_mm2"),
        calibrated_as=file.calibrated_as or file.name,
        facts=facts,
    )


def _scale_up(file: Accelerator, facts: Mapping[str, Fact], path: Path) -> Fabric:
    return Fabric(
        bandwidth=facts["scale_up.bandwidth"].value * _value(facts, "scale_up.usable_share", 1.0),
        domain=_count(facts, "scale_up.domain", path),
        topology=file.scale_up.topology,
        latency=_value(facts, "scale_up.latency"),
        reduces=file.scale_up.reduces,
        oversubscription=_value(facts, "scale_up.oversubscription", 1.0),
    )


def _scale_out(facts: Mapping[str, Fact]) -> Fabric | None:
    if "scale_out.bandwidth" not in facts:
        return None
    return Fabric(
        bandwidth=facts["scale_out.bandwidth"].value,
        domain=UNBOUNDED,
        topology="switch",
        latency=_value(facts, "scale_out.latency"),
        oversubscription=_value(facts, "scale_out.oversubscription", 1.0),
    )


def _in_system(chip: Chip, file: System, facts: dict[str, Fact], path: Path) -> Chip:
    """The chip with the networks and the host link that its system gives it."""
    up, out = chip.scale_up, chip.scale_out
    if file.scale_up is not None:
        up = replace(
            up,
            bandwidth=_value(facts, "scale_up.bandwidth", up.bandwidth),
            domain=_count(facts, "scale_up.domain", path) if "scale_up.domain" in facts else up.domain,
            topology=file.scale_up.topology or up.topology,
            latency=_value(facts, "scale_up.latency", up.latency),
            reduces=up.reduces if file.scale_up.reduces is None else file.scale_up.reduces,
        )
    if out is None:
        out = _scale_out(facts)
    else:
        bandwidth = _value(facts, "scale_out.bandwidth", out.bandwidth)
        out = replace(out, bandwidth=bandwidth, oversubscription=facts["scale_out.oversubscription"].value)
    merged = {**chip.facts, **facts}
    if file.host.link is not None:
        merged |= _link_facts(file.host.link, merged, f"{path}: host.link")
    link_bandwidth = _value(facts, "host.bandwidth", chip.host_link_bandwidth)
    return replace(chip, scale_up=up, scale_out=out, host_link_bandwidth=link_bandwidth, facts=merged)


def _link_facts(link: str, facts: Mapping[str, Fact], where: str) -> dict[str, Fact]:
    """What of its nameplate a large copy over the host link reaches, and how long a small one takes to start.

    A share measured on this very chip says more than the range of the link's generation.
    """
    try:
        figures = load_part(LINKS, link)
    except InputError as problem:
        raise InputError(where, problem.message, problem.hint) from None
    share = facts.get("host.copy_share", figures.get("efficiency"))
    start = figures.get("memcpy_alpha")
    if share is None or start is None:
        raise InputError(where, f"{link!r} is no host link, expected one whose file has efficiency and memcpy_alpha")
    return {"host.link_efficiency": share, "host.link_latency": start}


def _host(chip: Chip, memory_bandwidth: float, memory_bytes: float) -> Host | None:
    """The host as one device sees it; None where the sources have no link to it."""
    if chip.host_link_bandwidth is None or "host.link_efficiency" not in chip.facts:
        return None
    disk, processor = load_part(TIERS, DEFAULT_DISK), load_part(TIERS, DEFAULT_PROCESSOR)
    return Host(
        link_bandwidth=chip.host_link_bandwidth,
        link_efficiency=chip.facts["host.link_efficiency"].value,
        link_latency=chip.facts["host.link_latency"].value,
        memory_bandwidth=memory_bandwidth,
        memory_bytes=memory_bytes,
        flops=2 * processor["bf16"].value / DEVICES_PER_HOST,
        disk_bandwidth=disk["read_bandwidth"].value,
        disk_latency=disk["latency"].value,
        disk_bytes=DISK_BYTES,
    )

"""A system: so many of one chip in nodes, the kernels and engine on it, and what it costs."""

from __future__ import annotations

from dataclasses import dataclass

from dse.equations.num import Number, minimum
from dse.errors import InputError
from dse.model.constants import Engine, Kernels, QuantConstants
from dse.model.machine import Chip, Economics, Host, Node, Uncertainty
from dse.plan.formats import compute_rate, pairwise, per_format

FALLBACK = {"fp4": ("fp4", "fp8", "bf16", "fp16"), "fp8": ("fp8", "bf16", "fp16"), "int8": ("int8", "bf16", "fp16"),
            "bf16": ("bf16", "fp16")}
"""Where a chip lacks a rate, operands are widened and the product runs at the next one."""


@dataclass(frozen=True, slots=True)
class System:
    """`gpus` devices of one chip; `gpus` may be an array."""

    node: Node
    gpus: Number
    kernels: Kernels
    engine: Engine
    economics: Economics
    uncertainty: Uncertainty
    usd_per_gpu_hour: Number | None = None
    cost_basis: str = "owned"

    @property
    def chip(self) -> Chip:
        """The chip of every device."""
        return self.node.chip

    @property
    def name(self) -> str:
        """Catalogue name of the system."""
        return self.node.name


def rate_name(chip: Chip, rate: str) -> str:
    """The rate of the chip that products asking for `rate` get."""
    for name in FALLBACK[rate]:
        if name in chip.peak:
            return name
    raise InputError(f"{chip.name}: peak", f"no rate to run {rate} products at; expected bf16 or fp16")


def peak(chip: Chip, weights: Number, activations: Number) -> Number:
    """Dense FLOP/s of products of two number formats (names or arrays of them)."""
    return pairwise(weights, activations, lambda w, a: chip.peak[rate_name(chip, compute_rate(w, a))])


def quantised(system: System, weights: str, activations: str) -> QuantConstants | None:
    """Constants of a quantised product; None for one that runs at the bf16 rate."""
    if rate_name(system.chip, compute_rate(weights, activations)) in ("bf16", "fp16"):
        return None
    return system.kernels.quant.get(weights) or system.kernels.quant["int8" if weights == "int4" else "fp8"]


def quant_values(system: System, weights: Number, activations: Number) -> tuple[Number, Number, Number]:
    """Efficiency factor, k-loop factor and whether the product may split k, for formats or arrays of them."""
    def value(w: str, a: str) -> tuple[float, float, float]:
        q = quantised(system, w, a)
        return (1.0, 1.0, 1.0) if q is None else (q.efficiency_factor, q.k_factor, float(q.splits))

    if isinstance(weights, str) and isinstance(activations, str):
        return value(weights, activations)
    return tuple(pairwise(weights, activations, lambda w, a, i=i: value(w, a)[i]) for i in range(3))  # type: ignore[misc]


def vector_peak(chip: Chip) -> Number:
    """FLOP/s of attention's matrix products and everything else that stays in 16 bits."""
    return chip.peak[rate_name(chip, "bf16")]


def host_rate(system: System) -> Number:
    """Byte/s at which a device moves data to and from host memory: the slower of link and memory."""
    host = system.node.host
    if host is None:
        raise InputError(f"{system.chip.name}: host", "the catalogue has no link to host memory for this chip",
                         "keep weights and KV in device memory")
    return minimum(host.link_bandwidth * host.link_efficiency, host.memory_bandwidth)


def host_latency(system: System) -> Number:
    """Start of a transfer over the host link."""
    return 0.0 if system.node.host is None else system.node.host.link_latency


def outstanding(system: System) -> Number:
    """Accesses to host memory or disk that are under way at once."""
    return 1.0 if system.node.host is None else system.node.host.outstanding


def disk_rate(system: System) -> Number:
    """Byte/s at which a device's share of its host's disks is read."""
    return _with_disk(system).disk_bandwidth


def disk_latency(system: System) -> Number:
    """Start of a read from disk."""
    return _with_disk(system).disk_latency


def link_rate(system: System, link: str) -> Number:
    """Byte/s of a device over one of its links: to the host, its disks, its peers or the network."""
    if link == "host_link":
        return host_rate(system)
    if link == "disk_link":
        return disk_rate(system)
    if link == "peer":
        return system.chip.scale_up.bandwidth
    if system.chip.scale_out is None:
        raise InputError(f"{system.chip.name}: scale_out", "the catalogue has no network figure", "name another link")
    return system.chip.scale_out.bandwidth


def cpu_rates(system: System) -> tuple[Number, Number]:
    """FLOP/s and byte/s of a device's share of its host's processors and their memory."""
    host = system.node.host
    if host is None or host.flops is None:
        raise InputError(f"{system.chip.name}: host", "the catalogue has no processors beside this chip",
                         "leave the operation on the device")
    return host.flops, host.memory_bandwidth


def _with_disk(system: System) -> Host:
    host = system.node.host
    if host is None or host.disk_bandwidth is None:
        raise InputError(f"{system.chip.name}: host", "the catalogue has no disks beside this chip",
                         "keep weights and KV in device or host memory")
    return host


def is_format(names: Number, wanted: str) -> Number:
    """1 where a format is `wanted`, else 0."""
    return per_format(names, lambda n: float(n == wanted))

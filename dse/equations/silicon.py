"""Area of a chip by block, and the edge that its interfaces need.

Densities belong to a process: mm2 for each unit of a block. A FLOP per clock is a pure number here.
"""

from __future__ import annotations

from dse.equations.num import Number, sqrt
from dse.equations.registry import equation

LLMCOMPASS = "Zhang et al.: LLMCompass (ISCA 2024), arXiv:2312.03134, its area model"
GEOMETRY = "geometry"


@equation("mm2", LLMCOMPASS, registers="B", register_density="mm2/B", scratch="B", scratch_density="mm2/B")
def local_memory_area(registers: Number, register_density: Number, scratch: Number, scratch_density: Number) -> Number:
    """Registers and scratch memory (L1, shared) of one core; registers have many ports and are far larger a bit."""
    return registers * register_density + scratch * scratch_density


@equation("mm2", LLMCOMPASS, control="mm2", memory="mm2", vector="", vector_area="mm2", matrix="", matrix_area="mm2")
def core_area(control: Number, memory: Number, vector: Number, vector_area: Number, matrix: Number,
              matrix_area: Number) -> Number:
    """One core: its control, local memory, vector lanes and matrix engine.

    vector: fp32 FLOP per clock. matrix: 16-bit FLOP per clock, narrower formats share the same multipliers. *_area: of
    one FLOP per clock.
    """
    return control + memory + vector * vector_area + matrix * matrix_area


@equation("mm2", LLMCOMPASS, nbytes="B", density="mm2/B")
def cache_area(nbytes: Number, density: Number) -> Number:
    """A cache; a banked one behind a crossbar takes four times the area of a dense slab beside the memory."""
    return nbytes * density


@equation("mm2", LLMCOMPASS, sites="", interface="mm2", controller="mm2")
def memory_interface_area(sites: Number, interface: Number, controller: Number) -> Number:
    """Interfaces and controllers of stacked memory; the analogue interface does not shrink with the node."""
    return sites * (interface + controller)


@equation("mm2", LLMCOMPASS, bandwidth="B/s", lane_rate="B/s", lane_area="mm2")
def link_area(bandwidth: Number, lane_rate: Number, lane_area: Number) -> Number:
    """Serial links to other devices: as many as the bandwidth of one direction takes."""
    return bandwidth / lane_rate * lane_area


@equation("mm", GEOMETRY, area="mm2")
def outline(area: Number) -> Number:
    """Edge around silicon of that area, as a square: the least that any arrangement of it has."""
    return 4 * sqrt(area)


@equation("mm", GEOMETRY, area="mm2")
def half_edge(area: Number) -> Number:
    """Half the edge of a square: how far data travel within it on average, along both axes together about that."""
    return sqrt(area) / 2


@equation("mm", GEOMETRY, sites="", site_edge="mm", serial="mm2", depth="mm")
def shoreline(sites: Number, site_edge: Number, serial: Number, depth: Number) -> Number:
    """Edge that memory stacks and serial interfaces take: the latter lie along it, `depth` deep."""
    return sites * site_edge + serial / depth


@equation("", "definition: at most 0 where a limit is kept", need="mm", limit="mm")
def edge_excess(need: Number, limit: Number) -> Number:
    """Share by which interfaces need more edge than there is."""
    return need / limit - 1


@equation("", "definition: at most 0 where a limit is kept", area="mm2", limit="mm2")
def area_excess(area: Number, limit: Number) -> Number:
    """Share by which a die is larger than the field that one exposure prints."""
    return area / limit - 1

"""Where a deployment's money goes: its cost per hour by cause, down to the parts of the chip."""

from __future__ import annotations

from collections.abc import Iterator

from dse.equations.num import Number
from dse.model.money import hourly_parts, usd_per_device_hour
from dse.model.silicon import cost
from dse.model.system import System

PARTS = {"logic": "silicon", "memory": "memory", "package": "package", "assembly": "package", "auxiliary": "package"}
"""The chip's bill of materials, in the words of a buyer."""
CAUSES = {"energy": "power", "price": "given price", "rent": "rent"}


def spending(system: System, devices: Number) -> dict[str, float] | None:
    """USD per hour by cause; the values sum to `usd_per_hour`. None where a figure is missing.

    The chip's price is split by its bill of materials where it has one: what the price has beyond it is the vendor's.
    Idle hours are those of the year in which an owned deployment is not sold.
    """
    parts, hourly = hourly_parts(system), usd_per_device_hour(system)
    if parts is None or hourly is None:
        return None
    out: dict[str, float] = {}
    for name, usd in (*_chip(system, parts.get("chip")), *parts.items()):
        if name != "chip":
            key = CAUSES.get(name, name)
            out[key] = out.get(key, 0.0) + float(usd * devices)
    idle = float((hourly - sum(parts.values())) * devices)
    return {**out, "idle hours": idle} if idle else out


def _chip(system: System, hourly: Number | None) -> Iterator[tuple[str, Number]]:
    """The chip's hourly cost by its parts; as a whole where nobody knows what it is built of."""
    price, silicon = system.chip.price_usd, system.chip.silicon
    if hourly is None or price is None:
        return
    if silicon is None:
        yield "device", hourly
        return
    bill = cost(silicon)
    whole = max(float(price), float(sum(bill.values())))     # a price below the bill leaves the vendor nothing
    for name, usd in bill.items():
        yield PARTS[name], hourly * usd / whole
    margin = hourly * (1 - sum(bill.values()) / whole)
    if margin > 0:
        yield "vendor's margin", margin

"""What a device costs per hour: owned, rented, or at the user's own price. None where a figure is missing."""

from __future__ import annotations

from dse.equations import cost as law
from dse.equations.energy import facility_power
from dse.equations.num import Number
from dse.model.system import System


def hourly_parts(system: System) -> dict[str, Number] | None:
    """USD per device and hour by cause, before utilisation; None where the price or the power is unknown."""
    if system.usd_per_gpu_hour is not None:
        return {"price": system.usd_per_gpu_hour}
    chip, e = system.chip, system.economics
    if system.cost_basis == "rented":
        return None if chip.rent_usd_per_hour is None else {"rent": chip.rent_usd_per_hour}
    if chip.price_usd is None or chip.tdp_w is None:
        return None
    recovery = law.capital_recovery(e.interest, e.life_years)
    chips = law.capital_rate(chip.price_usd, recovery, e.opex_share, e.life_years)
    servers = law.capital_rate(law.installed_capital(chip.price_usd, e.server_overhead, 0.0), recovery, e.opex_share,
                               e.life_years)
    everything = law.capital_rate(law.installed_capital(chip.price_usd, e.server_overhead, e.network_share), recovery,
                                  e.opex_share, e.life_years)
    watts = chip.tdp_w * e.server_watt_per_chip_watt
    building = law.building_rate(watts, e.building_usd_per_watt, law.capital_recovery(e.interest,
                                                                                      e.building_life_years))
    return {"chip": chips, "server": servers - chips, "network": everything - servers, "building": building,
            "energy": law.energy_rate(watts, e.average_draw, e.pue, e.usd_per_kwh)}


def usd_per_device_hour(system: System) -> Number | None:
    """USD for each hour of a device that is sold or busy: owned hours are divided by the utilisation."""
    parts = hourly_parts(system)
    if parts is None:
        return None
    owned = system.usd_per_gpu_hour is None and system.cost_basis == "owned"
    return sum(parts.values()) / (system.economics.utilisation if owned else 1.0)


def meter_power(system: System, devices: Number) -> Number | None:
    """W at the meter for the devices' own draw; None where the power is unknown."""
    if system.chip.tdp_w is None:
        return None
    return facility_power(devices, system.chip.tdp_w, system.economics.average_draw, system.economics.pue)


def missing_price(system: System) -> str:
    """What to say when a cost is asked for and cannot be had."""
    lacks = {"rented": "rent"}.get(system.cost_basis, "price" if system.chip.price_usd is None else "power")
    return f"the catalogue has no {lacks} for {system.chip.name}; give --usd-per-gpu-hour or choose another chip"

"""What a device costs per hour, and a token with it.

Hours are part of the unit: rates are USD/h. A year has 8760 hours.
"""

from __future__ import annotations

from dse.equations.num import Number
from dse.equations.registry import equation

YEAR_HOURS = 8760.0
TCO = "capital recovery, as in ReaLLM (Chiplet Cloud) and Barroso et al., The Datacenter as a Computer"


@equation("", "annuity formula", interest="", years="")
def capital_recovery(interest: Number, years: Number) -> Number:
    """Yearly payment for each unit of capital: i / (1 - (1+i)^-years)."""
    return interest / (1 - (1 + interest) ** (-years))


@equation("USD", TCO, price="USD", server_overhead="", network_share="")
def installed_capital(price: Number, server_overhead: Number, network_share: Number) -> Number:
    """Capital per accelerator with its share of server and network.

    `server_overhead` is server price over chip price; the network takes `network_share` of the total.
    """
    return price * server_overhead / (1 - network_share)


@equation("USD/h", TCO, capital="USD", recovery="", opex_share="", years="")
def capital_rate(capital: Number, recovery: Number, opex_share: Number, years: Number) -> Number:
    """Hourly cost of capital: annuity plus operations, a share of the straight-line amortisation."""
    return capital * (recovery + opex_share / years) / YEAR_HOURS


@equation("USD/h", TCO, watts="W", usd_per_watt="USD/W", recovery="")
def building_rate(watts: Number, usd_per_watt: Number, recovery: Number) -> Number:
    """Hourly cost of the building's power and cooling capacity."""
    return watts * usd_per_watt * recovery / YEAR_HOURS


@equation("USD/h", "metered energy", watts="W", draw="", pue="", usd_per_kwh="USD/W/h")
def energy_rate(watts: Number, draw: Number, pue: Number, usd_per_kwh: Number) -> Number:
    """Hourly cost of energy for a server share of `watts` nameplate power; the price is per kWh."""
    return watts * draw * pue * usd_per_kwh / 1000


@equation("USD", "definition", usd_per_hour="USD/h", tokens_per_second="1/s")
def usd_per_million_tokens(usd_per_hour: Number, tokens_per_second: Number) -> Number:
    """Cost of a million tokens; an hour has 3600 s."""
    return usd_per_hour * (1e6 / 3600) / tokens_per_second

"""Fitted engines and interval factors as documents of hardware/calibration/."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

from dse.catalogue.calibration import ENGINES, FOLDER
from dse.catalogue.files import read_toml
from dse.catalogue.paths import find
from dse.validation.engine_fit import OWN, SHARED, EngineFit

SOURCE = ("fitted by `dse calibrate --engines` to the dense rows of silicon_sample.csv in aiconfigurator-core 0.12.0 "
          "(PyPI, Apache-2.0), kernel constants held; an uninformed constant keeps the value of an earlier trial law")
UNITS = {"iteration": ("ms", 1e3), "sequence": ("us", 1e6), "request": ("ms", 1e3), "request_token": ("us", 1e6),
         "burst": ("ms", 1e3)}


def engine_documents(fit: EngineFit, day: date) -> dict[str, dict[str, Any]]:
    """One document per engine: the shipped one with the fitted constants in place of the old."""
    out = {}
    for name, engine in fit.engines.items():
        document = dict(read_toml(find(ENGINES, name)))
        for key in (*OWN, *SHARED):
            relative = fit.errors[name if key in OWN else "all", key]
            if relative != float("inf"):
                document[key] = constant(key, getattr(engine, key), relative)
        out[name] = {**document, "source": SOURCE, "date": day, "rows": fit.rows}
    return out


def constant(key: str, value: float, relative: float) -> dict[str, Any]:
    """A constant with its standard error, in the unit its file uses."""
    unit, scale = UNITS.get(key, ("", 1.0))
    numbers = (float(f"{value * scale:.4g}"), float(f"{value * scale * relative:.2g}"))
    if not unit:
        return {"value": numbers[0], "error": numbers[1]}
    return {"value": f"{numbers[0]:g} {unit}", "error": f"{numbers[1]:g} {unit}"}


def uncertainty_document(factors: Mapping[str, Mapping[str, float]], day: date) -> dict[str, Any]:
    """The shipped spreads with the further factors of serving in place of the old."""
    document = dict(read_toml(find(FOLDER, "uncertainty")))
    serving = {name: {m: float(f"{v:.3g}") for m, v in values.items()} for name, values in factors.items()}
    return {**document, "date": day, "serving": {**document["serving"], **serving}}

"""Analytical cost model and design-space explorer for serving large language models.

    import dse
    e = dse.evaluate("llama-3.1-70b", "h100_sxm", dse.Plan(tp=8, weights="fp8"), dse.Traffic(2048, 256, concurrency=64))
    e.metrics["tpot_s"]

Names load on first use, so that `import dse` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from dse import ops as ops
    from dse.catalogue.models import load_model as load_model
    from dse.catalogue.systems import load_system as load_system
    from dse.interface import Front as Front
    from dse.interface import evaluate as evaluate
    from dse.interface import find_front as find_front
    from dse.interface import load_front as load_front
    from dse.model.evaluate import Evaluation as Evaluation
    from dse.plan.plan import Plan as Plan
    from dse.plan.traffic import Traffic as Traffic

_HOMES = {
    "load_model": "dse.catalogue.models", "load_system": "dse.catalogue.systems", "Plan": "dse.plan.plan",
    "Traffic": "dse.plan.traffic", "Evaluation": "dse.model.evaluate", "evaluate": "dse.interface",
    "find_front": "dse.interface", "Front": "dse.interface", "load_front": "dse.interface",
}
__all__ = ["Evaluation", "Front", "Plan", "Traffic", "__version__", "evaluate", "find_front", "load_front",
           "load_model", "load_system", "ops"]


def __getattr__(name: str) -> Any:
    if name == "ops":
        return import_module("dse.ops")
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'dse' has no attribute {name!r}")

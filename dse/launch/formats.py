"""Number formats of a plan as an engine is told of them: nothing where the checkpoint has them already."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from dse.launch.engines import Engine, Settings
from dse.launch.pools import Pool
from dse.plan.formats import usual_activations
from dse.plan.vocabulary import LAYER_WEIGHTS


def format_settings(document: Mapping[str, Any], pool: Pool, engine: Engine,
                    stored: Mapping[str, str] | None) -> tuple[Settings, list[str]]:
    """Flags for the formats, and what no flag can say. stored: the checkpoint's formats, None where nobody knows."""
    asked = {**document["plan"]["formats"], **pool.plan["formats"]}
    names = {obj: name for obj, value in asked.items() if (name := _name(value)) is not None}
    missing = [f"{obj} reshaped beyond a number format" for obj, value in asked.items() if not isinstance(value, str)]
    held = {obj: names[obj] for obj in LAYER_WEIGHTS if obj in names and document["memory"].get(obj)}
    settings, lost = _weights(held, engine, stored)
    before = None if stored is None else stored.get("kv", "bf16")
    kv = names.get("kv", "bf16")
    flag = engine.flag("kv")
    if kv != before and not (kv == "bf16" and stored is None):
        if flag is not None and kv in engine.kv:
            settings[flag.name] = engine.kv[kv]
        else:
            lost.append(f"KV in {kv}")
    return settings, [*missing, *lost, *_others(names, held, stored)]


def _weights(held: Mapping[str, str], engine: Engine, stored: Mapping[str, str] | None) -> tuple[Settings, list[str]]:
    before = {obj: None if stored is None else stored.get(obj, "bf16") for obj in held}
    changed = {obj: name for obj, name in held.items() if name != before[obj]}
    if not changed or (stored is None and set(held.values()) == {"bf16"}):
        return {}, []
    flag, formats = engine.flag("weights"), set(held.values())
    name = next(iter(formats))
    whole = len(formats) == 1 and set(before.values()) <= {None, "bf16"}
    if whole and flag is not None and name in engine.weights:
        return {flag.name: engine.weights[name]}, []
    words = f"weights in {name}" if len(formats) == 1 and len(changed) == len(held) else \
        ", ".join(f"{obj.replace('_', ' ')} in {name}" for obj, name in changed.items())
    return {}, [f"{words}: the engine makes no such copy as it loads; give a checkpoint that is stored so "
                "(--checkpoint), and the formats are taken from it"]


def _others(names: Mapping[str, str], held: Mapping[str, str], stored: Mapping[str, str] | None) -> list[str]:
    """Formats that follow from the weights in every engine, where the plan says otherwise."""
    found = []
    before = "bf16" if stored is None else stored.get("embedding", "bf16")
    if names.get("embedding", before) != before:
        found.append(f"embedding in {names['embedding']}")
    main = held.get("mlp_weights") or held.get("expert_weights")
    own = names.get("activations")
    if own is not None and main is not None and own not in (usual_activations(main), (stored or {}).get("activations")):
        found.append(f"activations in {own}")
    return found


def _name(value: Any) -> str | None:
    """The number format of a cell that may have forms on top."""
    if isinstance(value, str):
        return value
    return next((item for item in value if isinstance(item, str)), None) if isinstance(value, list) else None

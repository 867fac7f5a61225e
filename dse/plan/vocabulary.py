"""The nouns of a plan: objects, memories, engines, operations, and the names of spans that overlaps speak of."""

from __future__ import annotations

from fnmatch import fnmatchcase
from functools import cache

from dse.errors import InputError, nearest

LAYER_WEIGHTS = ("attention_weights", "mlp_weights", "expert_weights")
"""Weights of the layers: the group `weights` of formats, which leaves the embedding as the checkpoint has it."""
WEIGHT_OBJECTS = (*LAYER_WEIGHTS, "embedding")
"""Members of the group `weights` of a placement."""
STATE = ("kv", "x")
"""What a sequence adds: keys and values (or latents), and the inputs of each layer, from which they can be remade."""
OBJECTS = (*WEIGHT_OBJECTS, *STATE, "hidden")
PLACED = (*WEIGHT_OBJECTS, *STATE)
ANCESTORS = {"kv": ("x",)}
"""From which objects another can be remade."""
TIERS = ("hbm", "host", "disk")
BUFFERS = ("l2",)
ENGINES = ("device", "cpu")
OPS = ("norm", "qkv", "rope", "attention", "absorb", "indexer", "scan", "out", "mlp", "shared", "router", "experts",
       "engine", "embedding", "head", "sampling", "remake_kv", "draft", "hop", "event")
FOREIGN_OPS = ("attention", "mlp", "experts")
"""Operations that another engine than the device can run."""
SPLIT_OPS = ("norm",)
"""Operations that tensor parallelism may split by tokens."""
WHATS = (*OBJECTS, "flops", "sum", "exchange", "io", "gather", "send")
WHERES = ("hbm", "l2", "compute", "peer", "host_link", "disk_link", "latency")


def check_name(name: object, known: tuple[str, ...], where: str, what: str) -> str:
    """`name` if it is one of `known`, else an error with the nearest."""
    if not isinstance(name, str) or name not in known:
        raise InputError(where, f"no such {what}: {str(name)[:60]!r}", nearest(str(name)[:60], known))
    return name


def check_pattern(pattern: object, where: str) -> str:
    """A shell pattern `op`, or `op.object.place`, of which each part names something."""
    if not isinstance(pattern, str) or not 0 < len(pattern) <= 80:
        raise InputError(where, "expected a span pattern such as \"mlp.*.hbm\" or \"out.sum.peer\"")
    if not _names_something(pattern):
        raise InputError(where, f"{pattern!r} names no span", _advice(pattern))
    return pattern


@cache
def _names_something(pattern: str) -> bool:
    whole = (f"{op}.{what}.{place}" for op in OPS for what in WHATS for place in WHERES)
    return any(fnmatchcase(name, pattern) for name in (*OPS, *whole))


def _advice(pattern: str) -> str:
    """The nearest names of the first part of the pattern that names nothing."""
    for part, known, what in zip(pattern.split("."), (OPS, WHATS, WHERES), ("an operation", "an object", "a place"),
                                 strict=False):
        if not any(fnmatchcase(name, part) for name in known):
            return f"{part!r} is not {what}; {nearest(part, known)}"
    return "expected op.object.place such as \"mlp.*.hbm\" or \"out.sum.peer\""

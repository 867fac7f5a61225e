"""Which pool serves which phase: replicas of one plan, or pools that are partial plans of their own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dse.equations.num import Number
from dse.errors import InputError, nearest
from dse.plan.cells import cell, check_cells, known_keys

PHASES = ("prefill", "decode")
OWN = ("formats", "placement", "parallelism", "batching", "overlap", "chance")
"""Fields that a pool may say for itself; its cells win over the shared ones."""


@dataclass(frozen=True, slots=True)
class Pool:
    """`count` instances that serve one phase under cells of their own."""

    serves: str
    count: Number = cell(1.0, "instances of the pool", low=1, high=2**20, whole=True)
    fields: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_cells(self, "")


@dataclass(frozen=True, slots=True)
class Pools:
    """Which replicas serve which phase: all serve both, or `prefill` of the dp replicas compute prompts only.

    members: instead, a pool for each of the two phases, by name; a pool is a partial plan, and the cache of a prompt is
    handed over between them.
    """

    prefill: Number = cell(None, "replicas that only prefill; the others only decode; None: no pools", low=1,
                           high=2**20, whole=True, optional=True)
    members: Mapping[str, Pool] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_cells(self, "pools")
        if self.members and self.prefill is not None:
            raise InputError("pools.prefill", "both a number of replicas and pools, expected one of them")
        served = sorted(pool.serves for pool in self.members.values())
        if self.members and served != sorted(PHASES):
            raise InputError("pools", f"serve {', '.join(served)}, expected one pool for prefill and one for decode")

    def serving(self, phase: str) -> Pool:
        """The member that serves a phase."""
        return next(pool for pool in self.members.values() if pool.serves == phase)


def read_pools(table: Mapping[str, Any]) -> Pools:
    """Pools from a file: `{ prefill = 2 }`, or tables by name with `serves`, `count` and fields of a plan."""
    if not any(isinstance(value, Mapping) for value in table.values()):
        known_keys(table, ("prefill",), "pools")
        return Pools(**table)
    return Pools(members={name: _pool(value, f"pools.{name}") for name, value in table.items()})


def _pool(table: object, where: str) -> Pool:
    if not isinstance(table, Mapping):
        raise InputError(where, "expected a table such as { serves.prefill = 1, count = 2, parallelism.tp = 4 }")
    for key in ("device", "link", "on", "reserve"):
        if key in table:
            raise InputError(f"{where}.{key}", "is not modelled yet: pools are instances of one machine",
                             "leave it out")
    known_keys(table, ("serves", "count", *OWN), where)
    serves = table.get("serves")
    if not isinstance(serves, Mapping) or len(serves) != 1:
        raise InputError(f"{where}.serves", "expected one phase, served whole, such as { prefill = 1 }")
    phase, share = next(iter(serves.items()))
    if phase not in PHASES:
        raise InputError(f"{where}.serves.{phase}", "no such phase, or an operation that no pool lends yet",
                         nearest(str(phase), PHASES))
    if isinstance(share, bool) or share != 1:
        raise InputError(f"{where}.serves.{phase}", f"{str(share)[:20]} is not 1, expected a phase served whole")
    try:
        return Pool(phase, table.get("count", 1.0), {k: v for k, v in table.items() if k in OWN})
    except InputError as error:
        raise InputError(f"{where}.{error.where}", error.message, error.hint) from None


def pools_document(pools: Pools) -> dict[str, Any]:
    """The table of a file that `read_pools` reads back."""
    if not pools.members:
        return {} if pools.prefill is None else {"prefill": pools.prefill}
    return {name: {"serves": {pool.serves: 1}, "count": pool.count, **pool.fields}
            for name, pool in pools.members.items()}

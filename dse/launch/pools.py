"""The pools of a plan as servers see them: splits, replicas, and how many sequences run together."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from dse.plan.plan import document as plan_document
from dse.plan.plan import plan_from_document, specialised


@dataclass(frozen=True, slots=True)
class Pool:
    """Servers of one role ("" where every server does both). plan: its document, with what the pool says for itself.

    ranks: attention ranks of `tp` devices that share one copy of the experts; groups: such copies of the model.
    """

    role: str
    plan: Mapping[str, Any]
    tp: int
    pp: int
    cp: int
    ep: int
    replicas: int
    experts: bool

    @property
    def ranks(self) -> int:
        """Attention ranks that share experts."""
        return max(1, self.ep // (self.tp * self.cp))

    @property
    def groups(self) -> int:
        """Whole copies of the model."""
        return max(1, self.replicas // self.ranks)

    @property
    def devices(self) -> int:
        """Devices of one copy."""
        return self.tp * self.pp * self.cp * self.ranks

    def sequences(self, document: Mapping[str, Any]) -> int:
        """The most sequences that decode together on one attention rank: as the load says, as the memory allows."""
        traffic, slots = document["traffic"], document["metrics"].get("kv_slots")
        room = max(math.floor(slots), 1) if slots is not None else 2**20
        batch, users = traffic.get("batch"), traffic.get("concurrency")
        if batch is not None:
            return math.ceil(float(batch))
        return room if users is None else min(math.ceil(float(users) / self.replicas), room)


def pools_of(document: Mapping[str, Any]) -> Iterator[Pool]:
    """The pools of an evaluation document."""
    plan = document["plan"]
    pools, shared = plan.get("pools") or {}, {name: table for name, table in plan.items() if name != "pools"}
    experts = bool(document["memory"].get("expert_weights"))
    if not pools:
        yield _pool("", shared, experts)
    elif "prefill" in pools and not isinstance(pools["prefill"], Mapping):
        counts = {"prefill": int(pools["prefill"]), "decode": int(plan["parallelism"]["dp"] - pools["prefill"])}
        for role, count in counts.items():
            yield _pool(role, shared, experts, count)
    else:
        whole = plan_from_document(plan, "plan")
        for name, member in whole.pools.members.items():
            own = plan_document(specialised(whole, member.fields, f"pools.{name}"))
            yield _pool(member.serves, own, experts, int(member.count))


def _pool(role: str, plan: Mapping[str, Any], experts: bool, count: int | None = None) -> Pool:
    par = plan["parallelism"]
    tp, pp, cp, ep = (int(par.get(name, 1)) for name in ("tp", "pp", "cp", "ep"))
    return Pool(role, plan, tp, pp, cp, ep, count or int(par.get("dp", 1)), experts)

"""A plan: eight fields, and short names for the cells people set most."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from dse.equations.num import Number
from dse.errors import InputError, nearest
from dse.plan.cells import known_keys
from dse.plan.fields import STREAMING, Batching, Chance, Edge, Parallelism, Placement, Queueing
from dse.plan.forms import Formats
from dse.plan.merge import merge
from dse.plan.pools import Pools
from dse.plan.read import FIELDS, field_document, read_field
from dse.plan.vocabulary import LAYER_WEIGHTS, WEIGHT_OBJECTS


@dataclass(frozen=True, slots=True)
class Fields:
    """The eight fields as they are stored; `Plan` adds the short names."""

    formats: Formats = field(default_factory=Formats)
    placement: Placement = field(default_factory=Placement)
    parallelism: Parallelism = field(default_factory=Parallelism)
    pools: Pools = field(default_factory=Pools)
    batching: Batching = field(default_factory=Batching)
    overlap: tuple[Edge, ...] = STREAMING
    chance: Chance = field(default_factory=Chance)
    queueing: Queueing = field(default_factory=Queueing)


class Plan(Fields):
    """How a model is served: `Plan(tp=8, weights="fp8")`.

    Short names set cells of the fields: tp, pp, dp, ep, cp (parallelism); weights, kv, activations (formats);
    kv_offload, weight_offload (placement in host memory, 0..1). Numeric values may be NumPy arrays, formats lists of
    names; all of them broadcast. A field may also be given whole (`parallelism=Parallelism(...)`).
    """

    __slots__ = ()

    def __init__(self, *, tp: Number = None, pp: Number = None, dp: Number = None, ep: Number = None,
                 cp: Number = None, weights: Any = None, kv: Any = None, activations: Any = None,
                 kv_offload: Number = None, weight_offload: Number = None, formats: Formats | None = None,
                 placement: Placement | None = None, parallelism: Parallelism | None = None,
                 pools: Pools | None = None, batching: Batching | None = None,
                 overlap: tuple[Edge, ...] | None = None, chance: Chance | None = None,
                 queueing: Queueing | None = None) -> None:
        splits = {"tp": tp, "pp": pp, "dp": dp, "ep": ep, "cp": cp}
        kinds = {**dict.fromkeys(LAYER_WEIGHTS, weights), "kv": kv, "activations": activations}
        away = {**dict.fromkeys(WEIGHT_OBJECTS, weight_offload), "kv": kv_offload}
        rows = {name: {"host": share} for name, share in away.items() if share is not None}
        super().__init__(
            formats=_updated(formats or Formats(), kinds),
            placement=Placement({**(placement.rows if placement else {}), **rows}),
            parallelism=_updated(parallelism or Parallelism(), splits),
            pools=pools or Pools(),
            batching=batching or Batching(),
            overlap=STREAMING if overlap is None else overlap,
            chance=chance or Chance(),
            queueing=queueing or Queueing(),
        )

    @property
    def prefetches(self) -> bool:
        """Whether an overlap may take single objects out of kernels."""
        return any(edge.hide != STREAMING[0].hide for edge in self.overlap)


def _updated(holder: Any, values: Mapping[str, Any]) -> Any:
    """The holder with the values that are not None."""
    current = {f.name: getattr(holder, f.name) for f in fields(holder)}
    return type(holder)(**{**current, **{k: v for k, v in values.items() if v is not None}})


def plan_from_document(document: Mapping[str, Any], where: str) -> Plan:
    """A plan from the parsed content of a file (or of a result): tables named after the fields."""
    known_keys(document, FIELDS, where)
    try:
        made: dict[str, Any] = {name: read_field(name, table) for name, table in document.items()}
        return Plan(**made)
    except InputError as error:
        raise InputError(f"{where}: {error.where}" if where else error.where, error.message, error.hint) from None


def document(plan: Fields) -> dict[str, Any]:
    """The plan as nested plain values: what a file or a result stores, and `plan_from_document` reads back."""
    return {name: field_document(getattr(plan, name)) for name in FIELDS}


def specialised(plan: Plan, own: Mapping[str, Any], where: str) -> Plan:
    """The plan as one pool sees it: without pools, and with the pool's own cells."""
    shared = {name: table for name, table in document(plan).items() if name != "pools"}
    return plan_from_document(merge(shared, (where, own)), where)


def with_parallelism(plan: Plan, parallelism: Parallelism) -> Plan:
    """The plan with other splits."""
    held = {name: getattr(plan, name) for name in FIELDS}
    return Plan(**{**held, "parallelism": parallelism})


def devices(plan: Plan) -> Number:
    """Devices of the plan: the product of its splits, or the sum over its pools."""
    if not plan.pools.members:
        return _per_replica(plan) * (1.0 if plan.parallelism.dp is None else plan.parallelism.dp)
    return sum(pool.count * _per_replica(specialised(plan, pool.fields, f"pools.{name}"))
               for name, pool in plan.pools.members.items())


def _per_replica(plan: Plan) -> Number:
    par = plan.parallelism
    return par.tp * par.pp * par.cp


def with_setting(doc: dict[str, Any], path: str, value: Any) -> dict[str, Any]:
    """The document of a plan with the cell at a dotted `path` set: what `--set field=value` does."""
    head, *rest = path.split(".")
    if head not in FIELDS or not rest:
        raise InputError(path, "not a cell of a plan; expected field.key such as parallelism.tp",
                         nearest(head, FIELDS))
    out = {**doc, head: dict(doc.get(head, {}))} if head != "overlap" else dict(doc)
    if head == "overlap":
        raise InputError(path, "edges are set in a plan file")
    table = out[head]
    for key in rest[:-1]:
        inner = table.get(key, {})
        table[key] = dict(inner) if isinstance(inner, Mapping) else {}
        table = table[key]
    table[rest[-1]] = value
    return out

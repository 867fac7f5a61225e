"""How each object is kept once the forms of a plan are applied to its number format."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dse.equations.num import Number
from dse.plan.formats import element_bytes
from dse.plan.forms import Form, Formats


@dataclass(frozen=True, slots=True)
class Remade:
    """A share of an object that is kept as another: whether the original is stored too, and whether the kernel that
    touches it remakes it.
    """

    share: Number
    ancestor: str
    keep: bool
    fused: bool


@dataclass(frozen=True, slots=True)
class Kept:
    """An object as it is kept. format: whose rate its products run at. stored, moved: bytes of an element. extra: FLOPs
    for each element touched. grain: contiguous bytes of an access, None for the whole.
    """

    what: str
    format: Number
    stored: Number
    moved: Number
    extra: Number = 0.0
    grain: Number | None = None
    remade: tuple[Remade, ...] = ()

    @property
    def direct(self) -> Number:
        """Share that is stored as itself."""
        return 1.0 - sum(r.share for r in self.remade if not r.keep)

    @property
    def crossing(self) -> Number:
        """Share that is moved as itself when the object is touched."""
        return 1.0 - sum(r.share for r in self.remade)


def kept(what: str, name: Number, forms: tuple[Form, ...]) -> Kept:
    """The chain of forms on top of the number format `name`."""
    base = element_bytes(name)
    stored = moved = base
    extra: Number = 0.0
    left: Number = 1.0
    grain, remade, compute = None, [], name
    for form in forms:
        if form.kept_as is not None:
            remade.append(Remade(form.share * left, form.kept_as, form.keep, form.fused))
            left = left * (1.0 - form.share)      # a later form takes its share of what stays
            continue
        ratio = 1.0 if form.bits is None else (form.bits + form.scale_bits / form.group) / 8 / base
        extra = extra + moved / base * form.extra * form.share
        stored = stored * (form.share * (ratio if form.stored is None else form.stored) + 1 - form.share)
        moved = moved * (form.share * (ratio if form.moved is None else form.moved) + 1 - form.share)
        grain = grain if form.grain is None else form.grain
        compute = compute if form.compute is None else form.compute
    return Kept(what, compute, stored, moved, extra, grain, tuple(remade))


def kept_objects(formats: Formats) -> Mapping[str, Kept]:
    """Every object of a plan whose number formats are known; layer inputs and activations are 16 bits wide."""
    names = {"attention_weights": formats.attention_weights, "mlp_weights": formats.mlp_weights,
             "expert_weights": formats.expert_weights, "embedding": formats.embedding, "kv": formats.kv,
             "x": "bf16", "hidden": "bf16"}
    return {what: kept(what, name, formats.forms.get(what, ())) for what, name in names.items()}

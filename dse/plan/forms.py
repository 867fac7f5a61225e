"""In what form an object is kept: a number format by name, and on top of it a chain of forms.

A form multiplies the bytes stored and the bytes moved, adds work for each element touched, or keeps a share of the
object as another from which it is remade.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np

from dse.equations.num import Number
from dse.errors import InputError, nearest
from dse.plan.cells import cell, check_cells, known_keys
from dse.plan.formats import ACTIVATIONS, KV, WEIGHTS
from dse.plan.vocabulary import ANCESTORS, LAYER_WEIGHTS, OBJECTS

NAMES = {"kept_as": "as"}
"""Keys of a file whose name Python reserves."""


@dataclass(frozen=True, slots=True)
class Form:
    """One step of a chain. An encoding has `bits` (with a scale of `scale_bits` for every `group` elements); other
    forms say `stored` and `moved` ratios. `kept_as` turns a `share` of the object into an ancestor of it.
    """

    bits: Number = cell(None, "bits of an element, instead of the number format's", low=0.01, high=64, optional=True)
    group: Number = cell(1.0, "elements that share a scale", low=1, high=1e9)
    scale_bits: Number = cell(0.0, "bits of a scale", low=0, high=1024)
    stored: Number = cell(None, "bytes kept over bytes of the form before", low=0, high=1000, optional=True)
    moved: Number = cell(None, "bytes moved over bytes of the form before", low=0, high=1000, optional=True)
    extra: Number = cell(0.0, "FLOPs for each element touched", low=0, high=1e6)
    grain: Number = cell(None, "contiguous bytes of one access; None: whole", low=1, high=1e12, optional=True)
    compute: Any = cell(None, "number format at whose rate products run", choices=WEIGHTS, optional=True,
                        structure=True)
    share: Number = cell(1.0, "share of the object that takes this form", low=0, high=1)
    kept_as: Any = cell(None, "ancestor that the share is kept as", choices=("x",), optional=True, structure=True)
    keep: bool = False
    fused: bool = True

    def __post_init__(self) -> None:
        check_cells(self, "")
        for name in ("keep", "fused"):
            if not isinstance(getattr(self, name), bool):
                raise InputError(name, f"{getattr(self, name)!r} is not true or false")

    @property
    def encodes(self) -> bool:
        """Whether it says how many bits an element takes."""
        return self.bits is not None

    def document(self) -> dict[str, Any]:
        """The table of a file that makes this form."""
        default = Form()
        return {NAMES.get(f.name, f.name): getattr(self, f.name) for f in fields(self)
                if not _same(getattr(self, f.name), getattr(default, f.name))}


@dataclass(frozen=True, slots=True)
class Formats:
    """Number format of each object by name (None keeps the checkpoint's), and chains of forms on top of them."""

    attention_weights: Any = cell(None, "projections around attention", choices=WEIGHTS, optional=True)
    mlp_weights: Any = cell(None, "dense feed-forward, shared experts, router", choices=WEIGHTS, optional=True)
    expert_weights: Any = cell(None, "routed experts", choices=WEIGHTS, optional=True)
    embedding: Any = cell(None, "input embedding and output head", choices=WEIGHTS, optional=True)
    kv: Any = cell(None, "keys and values, latents", choices=KV, optional=True)
    activations: Any = cell(None, "inputs of matrix products", choices=ACTIVATIONS, optional=True)
    forms: Mapping[str, tuple[Form, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_cells(self, "formats")


CELLS = tuple(f.name for f in fields(Formats) if f.name != "forms")


def read_formats(table: Mapping[str, Any]) -> Formats:
    """Formats from a file: an object's value is a format's name, a form, or a list of forms after a name."""
    known_keys(table, (*CELLS, "weights", *(o for o in OBJECTS if o not in CELLS)), "formats")
    spread = dict.fromkeys(LAYER_WEIGHTS, table["weights"]) if table.get("weights") is not None else {}
    names: dict[str, Any] = {}
    forms: dict[str, tuple[Form, ...]] = {}
    for obj, value in {**spread, **{k: v for k, v in table.items() if k != "weights"}}.items():
        where = f"formats.{obj}"
        name, chain = _split(value, where)
        if name is not None and obj not in CELLS:
            raise InputError(where, "takes no number format, expected a form such as { bits = 4 }")
        if chain and obj not in OBJECTS:
            raise InputError(where, "takes the name of a number format only", nearest("", ACTIVATIONS))
        names |= {} if name is None else {obj: name}
        forms |= {obj: tuple(_form(item, obj, where) for item in chain)} if chain else {}
    return Formats(**names, forms=forms)


def _split(value: Any, where: str) -> tuple[Any, list[Any]]:
    """The number format (or an axis of them) and the forms on top."""
    if isinstance(value, Mapping):
        return None, [value]
    if isinstance(value, (list, tuple)) and any(isinstance(v, Mapping) for v in value):
        first, rest = (value[0], value[1:]) if not isinstance(value[0], Mapping) else (None, value)
        if not all(isinstance(v, Mapping) for v in rest):
            raise InputError(where, "expected one number format and then forms")
        return first, list(rest)
    return value, []


def _form(table: Mapping[str, Any], obj: str, where: str) -> Form:
    known = {NAMES.get(f.name, f.name): f.name for f in fields(Form)}
    known_keys(table, tuple(known), where)
    try:
        form = Form(**{known[key]: value for key, value in table.items()})
    except InputError as error:
        raise InputError(f"{where}.{NAMES.get(error.where, error.where)}", error.message, error.hint) from None
    if form.encodes and (form.stored is not None or form.moved is not None):
        raise InputError(f"{where}.bits", "an encoding fixes what is stored and moved", "state bits, or ratios")
    if form.kept_as is not None and form.kept_as not in ANCESTORS.get(obj, ()):
        raise InputError(f"{where}.as", f"{obj} cannot be remade from {form.kept_as}",
                         "known: " + ", ".join(f"{o} from {' or '.join(a)}" for o, a in ANCESTORS.items()))
    return form


def formats_document(formats: Formats) -> dict[str, Any]:
    """The table of a file that `read_formats` reads back."""
    out: dict[str, Any] = {}
    for obj in (*CELLS, *(o for o in OBJECTS if o not in CELLS)):
        name, chain = getattr(formats, obj, None), formats.forms.get(obj, ())
        if chain:
            out[obj] = [*([name] if name is not None else []), *(form.document() for form in chain)]
        elif name is not None:
            out[obj] = name
    return out


def _same(one: Any, other: Any) -> bool:
    return one is other or (np.ndim(one) == 0 and np.ndim(other) == 0 and one == other)

"""Evaluating a study's configuration: one side of a claim, for numbers or arrays of its knobs and unknowns."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from functools import cache
from math import prod
from typing import Any

import numpy as np

from dse.catalogue.models import load_model
from dse.catalogue.settings import with_figures
from dse.catalogue.systems import load_system
from dse.errors import InputError, nearest
from dse.model.architecture import Model
from dse.model.evaluate import Evaluation, evaluate
from dse.model.system import System
from dse.plan.plan import plan_from_document
from dse.plan.technique import Technique
from dse.plan.traffic import Traffic
from dse.studies.bind import SPLITS, bound_plan, machine_figures, resolved, splits, traffic_cells
from dse.studies.study import Raw, Study
from dse.studies.symbols import Symbols, machine_symbols, model_symbols, traffic_symbols

MOST_POINTS = 1 << 22
"""Settings of one evaluation: more would not fit the memory of a small machine."""
_KEPT = 6


@dataclass(frozen=True, slots=True)
class Side:
    """A technique on a published configuration, and the values that only this side has."""

    technique: Technique
    published: Raw
    where: str
    values: Mapping[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Bench:
    """Runs sides of one study; equal evaluations run once."""

    study: Study
    kept: OrderedDict[str, Evaluation] = field(default_factory=OrderedDict)
    runs: int = 0

    def evaluation(self, side: Side, values: Mapping[str, Any]) -> Evaluation:
        """The side with every knob, unknown and derived number bound."""
        given = {**values, **side.values}
        key = _key(side, given)
        if key not in self.kept:
            self.kept[key] = self._run(side, given)
            self.runs += 1
            if len(self.kept) > _KEPT:
                self.kept.popitem(last=False)
        self.kept.move_to_end(key)
        return self.kept[key]

    def _run(self, side: Side, values: Mapping[str, Any]) -> Evaluation:
        points = prod(np.broadcast_shapes(*(np.shape(v) for v in values.values())))
        if points > MOST_POINTS:
            raise InputError(side.where, f"its axes make {points:,} settings, expected at most {MOST_POINTS:,}",
                             "give its knobs and unknowns fewer points, or set some")
        where = f"{self.study.file}: published"
        model = named_model(side.published, where)
        shapes = {**model_symbols(model), **values}
        traffic = read_traffic(side.published.get("traffic", {}), shapes, f"{where}.traffic")
        names = {**shapes, **traffic_symbols(traffic), **values}
        system = machine(side.published, names, where)
        base = side.published.get("plan", {})
        system = replace(system, gpus=_devices(side.published, resolved(base, names, f"{where}.plan"), names, where))
        document = bound_plan(base, [side.technique], values, model, traffic, system)
        system = replace(system, gpus=_devices(side.published, document, names, where))
        plan = plan_from_document(document, side.technique.where or self.study.file)
        with np.errstate(all="ignore"):
            return evaluate(model, system, plan, traffic, open_grid=points > 1)


def surroundings(published: Raw, values: Mapping[str, Any], where: str) -> Symbols:
    """Names of model, traffic and machine, as far as a configuration has them."""
    names: Symbols = dict(values)
    if "model" in published:
        names = {**model_symbols(named_model(published, where)), **names}
    if published.get("traffic"):
        names = {**traffic_symbols(read_traffic(published["traffic"], names, f"{where}.traffic")), **names}
    if "hardware" in published:
        base = resolved(published.get("plan", {}), names, f"{where}.plan")
        system = replace(machine(published, names, where), gpus=_devices(published, base, names, where))
        names = {**machine_symbols(system, splits(base)), **names}
    return names


def named_model(published: Raw, where: str) -> Model:
    """The model that a configuration names."""
    return _model(_name(published, "model", where))


def machine(published: Raw, names: Mapping[str, Any], where: str) -> System:
    """One device of the machine that a configuration names, with its figures set."""
    found = _system(_name(published, "hardware", where), str(published.get("engine", "vllm")))
    return with_figures(found, machine_figures(published.get("device", {}), names, f"{where}.device"),
                        f"{where}.device")


def read_traffic(table: Raw, names: Mapping[str, Any], where: str) -> Traffic:
    """The traffic of a configuration."""
    known = [f.name for f in fields(Traffic)]
    for key in table:
        if key not in known:
            raise InputError(f"{where}.{key}", "no such key", nearest(key, known))
    cells = traffic_cells(table, names, where)
    try:
        return Traffic(**cells)
    except InputError as error:
        key = error.where.removeprefix("traffic").lstrip(".")
        raise InputError(f"{where}.{key}" if key else where, error.message, error.hint) from None


def _devices(published: Raw, document: Raw, names: Mapping[str, Any], where: str) -> Any:
    """Devices of the deployment: stated, or the product of the plan's splits."""
    if "gpus" in published:
        return resolved(published["gpus"], names, f"{where}.gpus")
    stated = splits(document)
    made: Any = 1.0
    for name in SPLITS:
        made = made * (1.0 if stated[name] is None else stated[name]) if name != "ep" else made
    return made


def _name(published: Raw, key: str, where: str) -> str:
    name = published.get(key)
    if not isinstance(name, str):
        raise InputError(f"{where}.{key}", f"missing, expected the name of a {key} of the catalogue")
    return name


@cache
def _model(name: str) -> Model:
    return load_model(name)


@cache
def _system(hardware: str, engine: str) -> System:
    return load_system(hardware, 1, engine)


def _key(side: Side, values: Mapping[str, Any]) -> str:
    bound = {name: [np.shape(v), np.asarray(v).tobytes().hex()] for name, v in sorted(values.items())}
    return json.dumps([side.technique.fields, side.published, bound], sort_keys=True, default=str)

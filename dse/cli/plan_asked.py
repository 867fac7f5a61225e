"""A plan as options and a file say it, evaluated: for commands that go on from one plan."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from dse.catalogue.models import load_model
from dse.catalogue.systems import load_system
from dse.cli import parse
from dse.cli.traffic import check_traffic, traffic_of
from dse.errors import InputError
from dse.model.document import evaluation_document
from dse.model.evaluate import evaluate
from dse.plan.plan import devices, plan_from_document


def evaluated(model: str | None, hardware: str | None, engine: str | None, plan: str | None,
              given: Mapping[str, str], settings: Iterable[str]) -> dict[str, Any]:
    """The evaluation document of one plan: a file's cells, overruled by options, overruled by --set."""
    for name, text in (("model", model), ("hardware", hardware)):
        if text is None:
            raise InputError(parse.option(name), "is missing, expected beside a plan that no search evaluated")
    axes = {name: (parse.item(text, parse.option(name), parse.RULES[name]),) for name, text in given.items()}
    check_traffic(axes)
    choice = {name: values[0] for name, values in axes.items()}
    document: dict[str, Any] = {} if plan is None else parse.plan_document(plan)
    for name, value in choice.items():
        if name in parse.CELLS:
            document = parse.with_cell(document, parse.CELLS[name], value)
    for path, text in parse.settings(settings).items():
        if path.split(".")[0] in parse.HARDWARE:
            raise InputError(f"--set {path}", "is of the machine, expected a cell of the plan",
                             "a machine of your own is a file: --hardware my_chip.toml")
        document = parse.with_cell(document, path, parse.literal(text))
    made = plan_from_document(document, "")
    system = load_system(str(hardware), 1, engine or "vllm")
    system = replace(system, gpus=choice.get("gpus", devices(made)))
    with np.errstate(all="ignore"):     # what has no value is null, not warned of
        return evaluation_document(evaluate(load_model(str(model)), system, made, traffic_of(choice)))

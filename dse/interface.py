"""The Python interface for notebooks and scripts: names or objects in, results that show themselves out.

    import dse
    e = dse.evaluate("llama-3.1-70b", "h100_sxm", dse.Plan(tp=8), dse.Traffic(2048, 256, concurrency=64))
    front = dse.find_front("llama-3.1-70b", "h100_sxm", input_tokens=2048, output_tokens=256, tpot_ms=50)
    front.frame().sort_values("usd_per_mtok")
"""

from __future__ import annotations

import io
import json
import shlex
from collections.abc import Mapping, Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dse.catalogue.models import load_model
from dse.catalogue.systems import load_system
from dse.model.architecture import Model
from dse.model.evaluate import Evaluation
from dse.model.evaluate import evaluate as predict
from dse.model.metrics import METRICS
from dse.model.shown import figure, page, plain_row
from dse.model.system import System
from dse.plan.plan import Plan, devices
from dse.plan.traffic import Traffic

if TYPE_CHECKING:
    import pandas as pd

_SHOWN = 12


def evaluate(model: Model | str, hardware: System | str, plan: Plan | None = None, traffic: Traffic | None = None, *,
             open_grid: bool = False) -> Evaluation:
    """Predict one plan, or a grid of them where numbers of plan and traffic are arrays.

    model: loaded, or a name as `load_model` takes it. hardware: a system, or a chip or system by name with as many
    devices as the plan uses. Without a plan one device, without traffic one request of 1024 and 256 tokens at a time.
    Never raises for a plan that merely does not fit. open_grid: each axis is a dimension of its own; faster then.
    """
    asked = plan or Plan()
    found = load_model(model) if isinstance(model, str) else model
    system = load_system(hardware, devices(asked)) if isinstance(hardware, str) else hardware
    return predict(found, system, asked, traffic or Traffic(batch=1), open_grid=open_grid)


@dataclass(frozen=True, slots=True)
class Front:
    """What a search found: plans that no other beats, from the best by the first objective on.

    document: the result as `dse search --json` prints it.
    """

    document: Mapping[str, Any]

    @property
    def points(self) -> list[dict[str, Any]]:
        """Each plan of the front as an evaluation document."""
        return list(self.document["front"])

    @property
    def objectives(self) -> list[str]:
        """The metrics that the search bettered."""
        return list(self.document["search"]["objectives"])

    def __len__(self) -> int:
        return len(self.document["front"])

    def __getitem__(self, index: int) -> dict[str, Any]:
        return self.points[index]

    def frame(self) -> pd.DataFrame:
        """A row for each plan: hardware, splits, formats, load, what the search chose, every metric in SI units."""
        import pandas as pd

        return pd.DataFrame([plain_row(point) for point in self.points])

    def _repr_html_(self) -> str:
        search = self.document["search"]
        names = self.objectives
        rows = [[i, row["hardware"], *(f"{row[s]:g}" for s in ("tp", "pp", "dp")), row["weights"], row["kv"],
                 *(figure(row.get(n), METRICS[n].unit) for n in names)]
                for i, row in enumerate(map(plain_row, self.points[:_SHOWN]))]
        more = f", the first {_SHOWN}" if len(self) > _SHOWN else ""
        heads = ("", "hardware", "tp", "pp", "dp", "weights", "kv", *(METRICS[n].title for n in names))
        return page(f"{search['model']} on {search['hardware']}", f"{len(self)} plans that no other beats{more}", heads,
                    [[str(cell) for cell in row] for row in rows])


def find_front(model: str, hardware: str | None = None, *, input_tokens: float | None = None,
               output_tokens: float | None = None, concurrency: float | Sequence[float] | None = None,
               rate: float | Sequence[float] | None = None, batch: float | Sequence[float] | None = None,
               gpus: int | None = None, objectives: Sequence[str] = (), ttft_ms: float | None = None,
               tpot_ms: float | None = None, weights: Sequence[str] = (), kv: Sequence[str] = (),
               techniques: Sequence[str] = (), knobs: Mapping[str, str] | None = None, free: str | None = None,
               engine: str | None = None, trials: int | None = None, seed: int | None = None) -> Front:
    """The plans that no other beats; arguments as the options of `dse search`, lists for its comma lists.

    model: a name as `load_model` takes it, or a search of the catalogue, which the arguments overrule. Raises DseError
    where an argument is wrong or no plan meets the limits.
    """
    values = {"hardware": hardware, "input-tokens": input_tokens, "output-tokens": output_tokens,
              "concurrency": concurrency, "rate": rate, "batch": batch, "gpus": gpus, "ttft-ms": ttft_ms,
              "tpot-ms": tpot_ms, "weights": weights or None, "kv": kv or None, "free": free, "engine": engine,
              "trials": trials, "seed": seed}
    words = ["search", *(w for name, v in values.items() if v is not None for w in (f"--{name}", _listed(v)))]
    words += [w for name in objectives for w in ("--objective", name)]
    words += [w for name in techniques for w in ("--technique", name)]
    words += [w for name, value in (knobs or {}).items() for w in ("--knob", f"{name}={value}")]
    from dse.cli.main import invoke  # one path for Python and the command line

    printed = io.StringIO()
    with redirect_stdout(printed):
        invoke([*words, "--json", "--", model])
    document = json.loads(printed.getvalue())
    command = shlex.join(["dse", *words, "--", model])
    return Front({**document, "search": {**document["search"], "command": command}})


def load_front(folder: str | Path) -> Front:
    """The front that `dse search --out` wrote into a folder."""
    from dse.report.result import read_result

    return Front(read_result(Path(folder)))


def _listed(value: object) -> str:
    """An argument as an option's text."""
    if isinstance(value, (str, int, float)):
        return str(value)
    return ",".join(str(v) for v in value) if isinstance(value, Sequence) else str(value)

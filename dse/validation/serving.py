"""Predicted against measured serving: errors by group, held-out fits, coverage of intervals."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from dse.validation.coverage import coverage
from dse.validation.engine_fit import held_out
from dse.validation.parity import write_parity
from dse.validation.predict import predict, without_cached_prompts, without_capped_batches
from dse.validation.silicon import load_silicon
from dse.validation.splits import architecture
from dse.validation.summary import by_group

KEYS = ["model", "chip", "engine"]
LEAVE_OUT = {"group": KEYS, "model": ["model"], "architecture": ["architecture"]}
"""What a fit of the engines' overheads does not see of the rows it predicts."""


def usable_rows(path: Path | None, models: str = "dense") -> tuple[pd.DataFrame, dict[str, int]]:
    """Cleaned rows with their architecture, and how many each rule dropped."""
    rows, dropped = load_silicon(path, models)
    rows, cached = without_cached_prompts(rows)
    dropped["in groups that cannot have computed their prompts: a prefix cache answered"] = cached
    rows, capped = without_capped_batches(rows)
    dropped["with a cap on the batch that is not recorded: users waited though all caches fit"] = capped
    return rows.assign(architecture=rows["chip"].map(architecture)), dropped


def serving_document(path: Path | None, leave_out: str | None, plot: Path | None,
                     models: str = "dense") -> dict[str, Any]:
    """Errors by group and in all; with `leave_out`, of fits that saw nothing of the left-out part."""
    rows, dropped = usable_rows(path, models)
    predicted = predict(rows) if leave_out is None else held_out(rows, LEAVE_OUT[leave_out])
    if plot is not None:
        shown = rows.assign(label=rows["model"] + " " + rows["engine"], time_s=rows["tpot_s"],
                            predicted_s=predicted["tpot_s"])
        write_parity(plot, shown, "TPOT of serving")
    return {
        "rows": len(rows), "dropped": dropped, "leave_out": leave_out, "groups": by_group(rows, predicted, KEYS),
        "all": by_group(rows.assign(all="all"), predicted, ["all"])[0],
        "coverage": coverage(rows, predicted) if leave_out == "group" else [],
    }

"""`dse validate --kind`: predicted against measured kernels, by what was measured, chip and size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

SCHEMA = "dse.kernel_validation/1"
BUCKETS = (("under 10 us", 0.0), ("10 to 100 us", 1e-5), ("0.1 to 1 ms", 1e-4), ("1 to 10 ms", 1e-3),
           ("over 10 ms", 1e-2))
APART = ("l40s", "rtx_pro_6000_bw")
"""Chips whose tables are warm in the last cache or cross PCIe: shown, not summed with the others."""


def kernel_document(kind: str, leave_out: str | None, plot: Path | None) -> dict[str, Any]:
    """The report of one kind of kernel."""
    from dse.validation.pipeline import validate_kind

    result = validate_kind(kind, leave_out)
    if plot is not None:
        from dse.validation.parity import write_parity

        write_parity(plot, result.rows, f"{kind}: {result.how}")
    rows = result.rows.assign(bucket=_bucket(result.rows["time_s"]))
    shared = rows[~rows["chip"].isin(APART)]
    return {
        "schema": SCHEMA, "kind": kind, "how": result.how, "rows": len(rows), "dropped": dict(result.dropped),
        "apart": list(APART), "chips": _errors(rows, ["label", "chip"]), "sizes": _errors(shared, ["label", "bucket"]),
        "labels": _errors(shared, ["label"]),
    }


def _bucket(times: pd.Series[float]) -> pd.Series[str]:
    import pandas as pd

    edges = [low for _, low in BUCKETS] + [float("inf")]
    return pd.cut(times, edges, labels=[name for name, _ in BUCKETS]).astype(str)


def _errors(rows: pd.DataFrame, keys: list[str]) -> list[dict[str, Any]]:
    from dse.validation.summary import summarise

    out = []
    for key, part in rows.groupby(keys):
        errors = asdict(summarise(part["predicted_s"], part["time_s"]))
        out.append({**dict(zip(keys, key, strict=True)), **errors})
    return out


def show_kernels(document: Mapping[str, Any]) -> None:
    """Print the report: totals by label, then chips, then sizes."""
    from rich.console import Console

    console = Console()
    dropped = "; ".join(f"{count} {reason}" for reason, count in document["dropped"].items() if count)
    console.print(f"{document['rows']} rows of {document['kind']}; dropped: {dropped or 'none'}")
    console.print(f"Predicted by: {document['how']}.")
    console.print(_table("Chips with HBM and NVLink together", document["labels"], ("label",)))
    console.print(_table("By chip", document["chips"], ("label", "chip")))
    console.print(_table("By measured time, chips with HBM and NVLink", document["sizes"], ("label", "bucket")))


def _table(title: str, groups: list[dict[str, Any]], keys: tuple[str, ...]) -> Any:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE, padding=(0, 1), title=f"{title}: absolute error, % (bias: signed median)")
    for key in keys:
        table.add_column(key, no_wrap=key != "label")
    for head in ("rows", "mean", "median", "P90", "bias"):
        table.add_column(head, justify="right", no_wrap=True)
    for group in groups:
        shares = (group["mape"], group["median"], group["p90"], group["bias"])
        table.add_row(*(str(group[k]) for k in keys), str(group["rows"]), *(f"{100 * s:.1f}" for s in shares))
    return table

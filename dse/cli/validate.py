"""`dse validate`: predicted against measured serving, and beside other tools."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from dse.errors import InputError

SCHEMA = "dse.validation/1"
KEYS = ["model", "chip", "engine"]


def validate(
    data: Annotated[Path | None, typer.Option(help="A folder with silicon_sample.csv instead of the installed "
                                                   "package's.")] = None,
    peers: Annotated[Path | None, typer.Option(help="Another tool's predictions (tool, model, hw, tp, phase, batch, "
                                                    "ctx, latency_ms) to show beside ours.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Exactly one JSON document.")] = False,
) -> None:
    """Compare TPOT and TTFT with public silicon, by model, chip and engine (needs the extra `validate`)."""
    document = _document(data, peers)
    if as_json:
        import json

        typer.echo(json.dumps(document))
    else:
        _show(document)


def _document(data: Path | None, peers: Path | None) -> dict[str, Any]:
    from dse.validation.peers import compare_peers, load_peers
    from dse.validation.predict import predict
    from dse.validation.silicon import load_silicon
    from dse.validation.summary import by_group

    if data is not None and not data.is_dir():
        raise InputError(str(data), "is no folder; expected one that holds silicon_sample.csv")
    rows, dropped = load_silicon(None if data is None else data / "silicon_sample.csv")
    predicted = predict(rows)
    everything = rows.assign(all="all")
    others, empty = (None, 0) if peers is None else load_peers(peers)
    return {
        "schema": SCHEMA, "dropped": dropped, "rows": len(rows),
        "groups": by_group(rows, predicted, KEYS), "all": by_group(everything, predicted, ["all"])[0],
        "peers": [] if others is None else compare_peers(others), "peers_dropped": empty,
    }


def _show(document: dict[str, Any]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    console = Console()
    dropped = {k: v for k, v in document["dropped"].items() if v}
    console.print(f"{document['rows']} measured rows; dropped: " + "; ".join(f"{v} {k}" for k, v in dropped.items()))
    table = Table(box=box.SIMPLE, padding=0, title="Absolute error, % of the measurement (bias: signed median)")
    heads = ("model, chip, engine", "rows", "TPOT\nmean", "\nmed.", "\nP90", "\nbias", "TTFT\nmean", "\nmed.",
             "roofl.\nTPOT")
    for head in heads:
        table.add_column(head, justify="right" if head != heads[0] else "left", no_wrap=head == heads[0])
    for group in [*document["groups"], document["all"]]:
        tpot, ttft = group["tpot"], group["ttft"]
        shares = (tpot["mape"], tpot["median"], tpot["p90"], tpot["bias"], ttft["mape"], ttft["median"],
                  group["roofline_tpot"]["mape"])
        name = " ".join(group[k] for k in KEYS) if "model" in group else "all"
        table.add_row(name, str(tpot["rows"]), *(f"{100 * s:.0f}" for s in shares))
    console.print(table)
    console.print("TTFT is the mean of a steady closed loop; the benchmarks start all users at once and include that "
                  "transient, so TTFT is low here.")
    if document["peers"]:
        _show_peers(console, document["peers"])
        if document["peers_dropped"]:
            console.print(f"{document['peers_dropped']} of their rows have no latency and are left out.")


def _show_peers(console: Any, peers: list[dict[str, Any]]) -> None:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE, padding=(0, 1), title="Other tools' latency over ours (1 = agree)")
    for head in ("tool", "phase", "rows", "median", "lowest", "highest"):
        table.add_column(head, justify="left" if head in ("tool", "phase") else "right")
    for row in peers:
        ratios = (row["median_ratio"], row["lowest_ratio"], row["highest_ratio"])
        table.add_row(row["tool"], row["phase"], str(row["rows"]), *(f"{r:.2f}" for r in ratios))
    console.print(table)

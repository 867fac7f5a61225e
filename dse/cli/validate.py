"""`dse validate`: predicted against measured serving or kernels, and beside other tools."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from dse.errors import InputError, nearest

SCHEMA = "dse.validation/1"
KEYS = ["model", "chip", "engine"]
SERVING = "end_to_end"


def validate(
    data: Annotated[Path | None, typer.Option(help="A folder with silicon_sample.csv instead of the installed "
                                                   "package's.")] = None,
    peers: Annotated[Path | None, typer.Option("--peers", "--against", help=(
        "Another tool's predictions (tool, model, hw, tp, phase, batch, ctx, latency_ms) to show beside ours"))] = None,
    kind: Annotated[str, typer.Option(help="What to compare: end_to_end, gemm, attention, mla, moe, collective or "
                                           "all_to_all.")] = SERVING,
    models: Annotated[str, typer.Option(help="Serving rows of which models: dense, or all six without the doubt of "
                                             "speculative decoding.")] = "dense",
    leave_out: Annotated[str | None, typer.Option(help="Fit anew without each row's shape, "
                                                       "architecture or model (kernels); group, model or architecture "
                                                       "(serving).")] = None,
    plot: Annotated[Path | None, typer.Option(help="Write a parity plot (HTML).")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Exactly one JSON document.")] = False,
) -> None:
    """Compare predictions with measurements, by model, chip and engine or by kernel (needs the extra `validate`)."""
    if kind == SERVING:
        document = _serving(data, peers, leave_out, plot, models)
    else:
        if models != "dense":
            raise InputError("--models", f"is for --kind {SERVING}", "leave it out")
        document = _kernels(kind, leave_out, plot, data, peers)
    if as_json:
        import json

        typer.echo(json.dumps(document))
    elif kind == SERVING:
        _show(document)
    else:
        from dse.cli.validate_kernels import show_kernels

        show_kernels(document)


def _serving(data: Path | None, peers: Path | None, leave_out: str | None, plot: Path | None,
             models: str) -> dict[str, Any]:
    from dse.validation.peers import compare_peers, load_peers
    from dse.validation.serving import LEAVE_OUT, serving_document
    from dse.validation.silicon import SAMPLES

    if leave_out is not None and leave_out not in LEAVE_OUT:
        raise InputError("--leave-out", f"unknown value {leave_out!r}", nearest(leave_out, LEAVE_OUT))
    if models not in SAMPLES:
        raise InputError("--models", f"unknown value {models!r}", nearest(models, SAMPLES))
    if data is not None and not data.is_dir():
        raise InputError(str(data), "is no folder; expected one that holds silicon_sample.csv")
    others, empty = (None, 0) if peers is None else load_peers(peers)
    document = serving_document(None if data is None else data / "silicon_sample.csv", leave_out, plot,
                                models)
    return {"schema": SCHEMA, **document, "peers": [] if others is None else compare_peers(others),
            "peers_dropped": empty}


def _kernels(kind: str, leave_out: str | None, plot: Path | None, data: Path | None,
             peers: Path | None) -> dict[str, Any]:
    from dse.cli.validate_kernels import kernel_document
    from dse.validation.kinds import KINDS
    from dse.validation.pipeline import LEAVE_OUT

    if kind not in KINDS:
        raise InputError("--kind", f"no such kind: {kind!r}", nearest(kind, [SERVING, *KINDS]))
    if leave_out is not None and leave_out not in LEAVE_OUT:
        raise InputError("--leave-out", f"unknown value {leave_out!r}", nearest(leave_out, LEAVE_OUT))
    if data is not None or peers is not None:
        raise InputError("--data" if data is not None else "--peers", f"is for --kind {SERVING}", "leave it out")
    return kernel_document(kind, leave_out, plot)


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
    cycle = document["all"]["cycle"]
    console.print(f"Time of a closed-loop cycle (the inverse of throughput): {100 * cycle['mape']:.1f} % mean, "
                  f"{100 * cycle['median']:.1f} % median.")
    if document["coverage"]:
        _show_coverage(console, document["coverage"])
    if document["peers"]:
        _show_peers(console, document["peers"])
        if document["peers_dropped"]:
            console.print(f"{document['peers_dropped']} of their rows have no latency and are left out.")


def _show_coverage(console: Any, groups: list[dict[str, Any]]) -> None:
    """Share of measurements inside the 80 % intervals, by group."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE, padding=(0, 1), title="Measurements inside 80 % intervals, %")
    for head in ("group (not used for its interval)", "rows", "TPOT", "TTFT"):
        table.add_column(head, justify="left" if head.startswith("group") else "right")
    rows = sum(g["rows"] for g in groups)
    whole = {m: sum(g[m] * g["rows"] for g in groups) / rows for m in ("tpot", "ttft")}
    for group in [*groups, {"group": "all", "rows": rows, **whole}]:
        table.add_row(group["group"], str(group["rows"]), f"{100 * group['tpot']:.0f}", f"{100 * group['ttft']:.0f}")
    console.print(table)


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

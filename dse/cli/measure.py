"""`dse measure`: products, decode attention and copies of the device at hand, as files that `dse calibrate` reads."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dse.errors import EnvironmentProblem, InputError, nearest

if TYPE_CHECKING:
    import pandas as pd

    from dse.validation.measure import Runner

DEVICES = ("cuda", "cpu")
SHORTEST, LONGEST = 1.0, 3600.0


def measure(
    output: Annotated[Path | None, typer.Option("--output", "-o", help="The folder for gemm.csv, attention.csv and "
                                                                       "copy.csv.")] = None,
    chip: Annotated[str | None, typer.Option(help="Catalogue name of the chip: a column of the files, and predictions "
                                                  "to compare with.")] = None,
    device: Annotated[str | None, typer.Option(help="cuda or cpu; silent: a GPU where there is one.")] = None,
    seconds: Annotated[float, typer.Option(help="About how long to measure.")] = 60.0,
) -> None:
    """Measure the device at hand, and compare it with predictions (needs the extra `measure`)."""
    _check(chip, device, seconds)
    folder = _folder(output)
    from dse.validation.measure import KINDS, as_csv, measure_all, shapes
    from dse.validation.measure_torch import open_runner
    from dse.whole_file import write_whole

    runner = open_runner(device)
    if chip is not None and device is None and runner.device == "cpu":
        raise EnvironmentProblem("--chip", f"PyTorch finds no GPU that could be {chip}",
                                 "measure the CPU with --device cpu")
    tables = measure_all(runner, seconds, chip)
    for kind in KINDS:
        write_whole(folder / f"{kind}.csv", as_csv(tables[kind]))
        typer.echo(f"{kind}: {len(tables[kind])} of {len(shapes(kind, runner.device))} shapes, "
                   f"written to {folder / kind}.csv")
    _say_copies(tables["copy"], runner, chip)
    if chip is not None:
        _say_errors(tables, chip)
        if runner.device == "cpu":
            typer.echo(f"the CPU was measured, not {chip}: calibrate nothing with these files")


def _check(chip: str | None, device: str | None, seconds: float) -> None:
    from dse.catalogue.hardware import chip_names

    if device is not None and device not in DEVICES:
        raise InputError("--device", f"unknown value {device!r}", nearest(device, DEVICES))
    if chip is not None and chip not in chip_names():
        raise InputError("--chip", f"{chip!r} is not in the catalogue", nearest(chip, chip_names()))
    if not SHORTEST <= seconds <= LONGEST:      # not a number fails as well
        raise InputError("--seconds", f"{seconds:g} is out of range", f"expected from {SHORTEST:g} to {LONGEST:g}")


def _folder(output: Path | None) -> Path:
    """The folder, made where it is missing; refused now and not after a minute of measuring."""
    if output is None:
        raise InputError("--output", "missing; expected the folder to write to")
    try:
        output.mkdir(exist_ok=True)
    except (OSError, ValueError) as problem:
        reason = getattr(problem, "strerror", None) or str(problem)
        raise InputError(str(output), f"cannot be made a folder ({reason})",
                         "expected a folder, or a new name in one that exists") from None
    if not os.access(output, os.W_OK | os.X_OK):
        raise InputError(str(output), "cannot be written (write-protected)", "expected a folder that may be written")
    return output


def _say_copies(copies: pd.DataFrame, runner: Runner, chip: str | None) -> None:
    from dse.catalogue.hardware import load_chip
    from dse.validation.measure import plateaus

    known = None if chip is None else load_chip(chip)
    stated = {} if known is None else {"cache": known.cache_bandwidth, "memory": known.memory_bandwidth}
    for name, rate in plateaus(copies, runner.cache_bytes).items():
        beside = f", catalogue {stated[name] / 1e12:.3g} TB/s" if stated.get(name) else ""
        typer.echo(f"copies in {name}: {rate / 1e12:.3g} TB/s read and written{beside}")


def _say_errors(tables: dict[str, pd.DataFrame], chip: str) -> None:
    from dse.validation.measure import compare

    typer.echo(f"predicted for {chip} against measured:")
    for kind, e in compare(tables, chip).items():
        typer.echo(f"  {kind}: {e.rows} rows, error {100 * e.mape:.1f} % (median {100 * e.median:.1f}, "
                   f"bias {100 * e.bias:+.1f})")

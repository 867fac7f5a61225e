"""`dse calibrate`: constants of a chip from a user's measurements, and the shipped files anew."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dse.errors import EnvironmentProblem, InputError, nearest
from dse.whole_file import write_whole

if TYPE_CHECKING:
    import pandas as pd

    from dse.equations.num import Number
    from dse.validation.fit import Fit
    from dse.validation.kinds import Kind

UNCERTAIN = """Standard deviation of the logarithm of measured over predicted times.
laws: on rows no fit saw, `measured` where the chip has constants of its own (unseen shapes), `unmeasured` where it
takes its class's (a whole architecture left out); mean absolute error of `dse validate --kind K --leave-out ...` times
1.25.
serving: what these leave unexplained, from serving groups held out of the fit of the engines' overheads."""
COLD = {"benchmark.gemm.share": 1e-6, "benchmark.decode.share": 1e-6}
"""A user's operands are taken to be cold: nothing stays in the last cache."""


def calibrate(
    measured: Annotated[Path | None, typer.Argument(help="CSV of measured kernels: one row each, with the columns of "
                                                         "its kind and time_s (or time_ms, time_us).")] = None,
    chip: Annotated[str | None, typer.Option(help="Catalogue name of the chip, where the file has no such "
                                                  "column.")] = None,
    kind: Annotated[str, typer.Option(help="gemm, attention, mla, moe or collective.")] = "gemm",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="The file to write (with --shipped: the "
                                                                       "folder).")] = None,
    shipped: Annotated[bool, typer.Option("--shipped", help="Recreate every file of hardware/calibration that the "
                                                            "package aiconfigurator-core has data for.")] = False,
    engines: Annotated[bool, typer.Option("--engines", help="Recreate the engines' files and the interval factors "
                                                            "from the package's serving rows (minutes).")] = False,
) -> None:
    """Fit the constants that a chip has data for, and write them as a file for hardware/calibration/."""
    if output is None:
        raise InputError("--output", "missing; expected the file to write (with --shipped: the folder)")
    if shipped:
        _ship(output)
    elif engines:
        _ship_engines(output)
    elif measured is None:
        raise InputError("MEASURED.csv", "missing; expected a CSV of measured kernels, or --shipped")
    else:
        _calibrate(measured, chip, kind, output)


def _save(path: Path, text: str) -> None:
    """A calibration file, in its folder, whole or not at all."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise InputError(str(path), f"cannot be written ({problem.strerror})", "expected a folder") from None
    write_whole(path, text.encode())


def _ship(folder: Path) -> None:
    from dse.toml_writer import dumps
    from dse.validation.shipping import COMMENTS, fit_all, shipped_files

    if folder.exists() and not folder.is_dir():
        raise EnvironmentProblem(str(folder), "is no folder")
    fits: dict[str, Fit] = {}
    for found in fit_all().values():
        fits.update(found)
    for name, fit in fits.items():
        typer.echo(f"{name}: {fit.rows} rows, median error {100 * fit.residual:.1f} %")
        _say_refused(fit)
    for file, document in shipped_files(fits).items():
        _save(folder / f"{file}.toml", dumps(document, COMMENTS.get(file, "")))
    typer.echo(f"written to {folder}: the files of the package's chips, their classes, and the defaults")


def _ship_engines(folder: Path) -> None:
    from datetime import UTC, datetime

    from dse.toml_writer import dumps
    from dse.validation.coverage import serving_factors
    from dse.validation.engine_files import engine_documents, uncertainty_document
    from dse.validation.engine_fit import fit_engines, held_out, names
    from dse.validation.serving import KEYS, usable_rows

    rows, _ = usable_rows(None)
    fit, day = fit_engines(rows), datetime.now(UTC).date()
    for key in names():
        said = "the earlier value stays" if fit.errors[key] == float("inf") else f"error {100 * fit.errors[key]:.0f} %"
        typer.echo(f"{' '.join(key)}: {said}")
    factors = serving_factors(rows, held_out(rows, KEYS, typer.echo))
    for name, document in engine_documents(fit, day).items():
        _save(folder / "engines" / f"{name}.toml", dumps(document))
    _save(folder / "uncertainty.toml", dumps(uncertainty_document(factors, day), UNCERTAIN))
    typer.echo(f"written to {folder}")


def _calibrate(measured: Path, chip: str | None, kind: str, output: Path) -> None:
    from dse.validation.kinds import KINDS
    from dse.validation.pipeline import fit_chip, unseen
    from dse.validation.tables.user import COLUMNS, check_scale, load_csv

    if kind not in COLUMNS:
        raise InputError("--kind", f"no such kind: {kind!r}", nearest(kind, COLUMNS))
    table, dropped = load_csv(measured, kind, chip)
    chips = sorted(set(table["chip"]))
    if len(chips) != 1:
        raise InputError(f"{measured}: chip", "one chip at a time; the file has " + ", ".join(chips),
                         "choose one with --chip")
    for reason, count in dropped.items():
        typer.echo(f"dropped {count}: {reason}")
    check_scale(table, KINDS[kind].law(table, COLD), measured)
    gone = unseen(KINDS[kind], table)
    fits = fit_chip(KINDS[kind], table[~gone].reset_index(drop=True), COLD)
    if not any(fit.constants for fit in fits.values()):
        raise InputError(str(measured), f"its {len(table)} rows say nothing about the chip's {kind} constants",
                         "measure more shapes")
    _say_errors(KINDS[kind], table, gone, fits)
    for fit in fits.values():
        for c in fit.constants:
            typer.echo(f"  {c.name} = {c.value:.4g} ± {c.value * c.error:.1g}")
        _say_refused(fit)
    _write(output, measured, fits)


def _say_errors(kind: Kind, table: pd.DataFrame, gone: Any, fits: Mapping[str, Fit]) -> None:
    from dse.validation.pipeline import constants_at
    from dse.validation.summary import summarise

    for words, rows in (("fitted rows", table[~gone]), ("held-out rows", table[gone])):
        part = rows.reset_index(drop=True)
        if part.empty:
            typer.echo(f"{words}: none")
            continue
        constants: dict[str, Number] = {**constants_at(fits, part), **COLD}
        errors = summarise(_series(kind.law(part, constants)), part["time_s"])
        typer.echo(f"{words}: {errors.rows}, error {100 * errors.mape:.1f} % (median {100 * errors.median:.1f}, "
                   f"P90 {100 * errors.p90:.1f}, bias {100 * errors.bias:+.1f})")


def _series(values: Any) -> pd.Series[float]:
    import pandas as pd

    return pd.Series(values)


def _say_refused(fit: Fit) -> None:
    for c in fit.refused:
        typer.echo(f"  {c.name} of {c.member}: error exceeds half of the value; the family's stays")


def _write(output: Path, measured: Path, fits: Mapping[str, Fit]) -> None:
    from datetime import date

    from dse.toml_writer import dumps
    from dse.validation.shipping import Entry, put

    digest = hashlib.sha256(measured.read_bytes()).hexdigest()
    document: dict[str, Any] = {"kind": "calibration", "date": date.today(),
                                "source": f"fitted by `dse calibrate` to {measured.name}, sha256 {digest}"}
    for fit in fits.values():
        for c in fit.constants:
            put(document, Entry(c.name, c.value, c.value * c.error))
    document["fits"] = {name: {"rows": fit.rows, "residual": round(fit.residual, 4)} for name, fit in fits.items()}
    _save(output, dumps(document))
    typer.echo(f"written to {output}: in force as hardware/calibration/<chip>.toml")

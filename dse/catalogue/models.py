"""Models by name or by path. A catalogued model is a folder: the hub's config.json, and source.toml on its origin."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, replace
from pathlib import Path

from dse.catalogue.config import read_config_file
from dse.catalogue.hub import hub_config, is_hub_name
from dse.catalogue.json_reader import Reader, read_text
from dse.catalogue.paths import data_roots
from dse.errors import InputError, nearest
from dse.model.architecture import Model

FOLDER = "workloads/models"
CONFIG_KINDS = ("copy", "re-encoding", "recalled")
TOTAL_KINDS = ("headline", "hf-header")


@dataclass(frozen=True, slots=True)
class Published:
    """What is published about a catalogued model, and how far that can be trusted.

    `total_b` and `active_b` are in 1e9 parameters, None where no figure is at hand. `kind`: "headline" (rounded, from a
    name or report) or "hf-header" (exact, from the checkpoint). `tolerance` is the share by which a computed total may
    differ. `verified` false means that someone remembered the figure. `config_kind` says the same of the shape: "copy"
    of the hub's file, "re-encoding" (written from someone's published table of shapes), or "recalled".
    """

    title: str
    source: str
    config_kind: str
    config_source: str
    total_b: float | None
    active_b: float | None
    kind: str
    published_source: str
    tolerance: float
    verified: bool
    notes: str


def model_names() -> list[str]:
    """Names of the catalogued models, sorted."""
    return sorted(_folders())


def load_model(name_or_path: str | Path) -> Model:
    """A catalogued model by its name, one of the hub (`hf:ORG/NAME`), or that of a config.json or of its folder."""
    folder = _folders().get(str(name_or_path))
    if folder is not None:
        model = read_config_file(folder / "config.json", folder.name)
        source = folder / "source.toml"
        return replace(model, source=read_source(source).source) if source.is_file() else model
    if is_hub_name(str(name_or_path)):
        return replace(read_config_file(hub_config(str(name_or_path)), str(name_or_path)), source=str(name_or_path))
    path = Path(name_or_path)
    if not _exists(path):
        raise InputError("model", f"{str(name_or_path)[:80]!r} is neither in the catalogue nor a file", _hint(path))
    return read_config_file(path / "config.json" if path.is_dir() else path)


def published(name: str) -> Published:
    """The published facts of a catalogued model."""
    folder = _folders().get(name)
    if folder is None:
        raise InputError("model", f"{name[:80]!r} is not in the catalogue", nearest(name[:64], _folders()))
    return read_source(folder / "source.toml")


def read_source(path: Path) -> Published:
    """A source.toml, every key checked."""
    try:
        raw = tomllib.loads(read_text(path))
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise InputError(str(path), f"is not TOML: {error}") from None
    reader = Reader(raw, str(path))
    reader.choice("kind", ("model",))
    has_total = reader.has("published_total_b")
    return Published(
        title=reader.text("title"),
        source=reader.text("source"),
        config_kind=reader.choice("config_kind", CONFIG_KINDS),
        config_source=reader.text("config_source"),
        total_b=reader.number("published_total_b", 1e-6, 1e6) if has_total else None,
        active_b=reader.number("published_active_b", 1e-6, 1e6) if reader.has("published_active_b") else None,
        kind=reader.choice("published_kind", TOTAL_KINDS) if has_total else "",
        published_source=reader.text("published_source") if has_total else "",
        tolerance=reader.number("tolerance", 0, 1, 0.015),
        verified=reader.flag("verified"),
        notes=reader.text("notes", ""),
    )


def _folders() -> dict[str, Path]:
    """Folder of each name; the first root that has it wins."""
    found: dict[str, Path] = {}
    for root in data_roots():
        for config in sorted((root / FOLDER).glob("*/config.json")):
            found.setdefault(config.parent.name, config.parent)
    return found


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except (OSError, ValueError):  # a name too long for a file system, or with a null byte in it
        return False


def _hint(path: Path) -> str:
    """Nearest names; a path to a file that is not there gets the plain advice."""
    if path.suffix == ".json" or len(path.parts) > 1:
        return "give the path of a config.json, or of a folder that holds one"
    return nearest(str(path)[:64], _folders())

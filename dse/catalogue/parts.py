"""Files of hardware/ by name or path, and the parts that machines are made of: links and memory tiers."""

from __future__ import annotations

import os
from pathlib import Path

from dse.catalogue import paths
from dse.catalogue.figures import facts_of
from dse.catalogue.files import read_toml, validate
from dse.catalogue.schema import Part
from dse.model.machine import Fact

ACCELERATORS, SYSTEMS, LINKS, TIERS = (f"hardware/{kind}" for kind in ("accelerators", "systems", "links", "tiers"))


def locate(kind_folder: str, name_or_path: str | Path) -> Path:
    """The file of a catalogue name, or the path itself."""
    text = os.fspath(name_or_path)
    return Path(text) if text.endswith(".toml") or os.sep in text else paths.find(kind_folder, text)


def load_part(kind_folder: str, name_or_path: str | Path) -> dict[str, Fact]:
    """The figures of one link (LINKS) or memory tier (TIERS) by key."""
    path = locate(kind_folder, name_or_path)
    file = validate(Part, read_toml(path), str(path))
    return {key.removeprefix("figures."): fact for key, fact in facts_of(file, file.sources, str(path)).items()}

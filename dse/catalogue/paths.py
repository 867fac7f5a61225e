"""Where data folders are: the user's own, then the repository's, or the copy that travels in the wheel."""

from __future__ import annotations

import os
from pathlib import Path

from dse.errors import InputError, nearest

VARIABLE = "DSE_CATALOGUE"


def data_roots() -> list[Path]:
    """Folders laid out like the repository (hardware/, workloads/), the first one winning.

    A checkout is recognised by hardware/ beside the package; only without one is `dse/_data` used, because an
    editable install leaves a stale copy of it in site-packages.
    """
    package = Path(__file__).resolve().parent.parent
    checkout = package.parent
    shipped = checkout if (checkout / "hardware" / "accelerators").is_dir() else package / "_data"
    return [*_own_roots(), shipped]


def _own_roots() -> list[Path]:
    roots = [Path(part) for part in os.environ.get(VARIABLE, "").split(os.pathsep) if part]
    for root in roots:
        if not root.is_dir():
            raise InputError(f"${VARIABLE}", f"{str(root)!r} is no folder, expected folders that hold hardware/ ...")
    return roots


def find(kind_folder: str, name: str, suffix: str = ".toml") -> Path:
    """The file of `name` in e.g. "hardware/accelerators"; `suffix` may be "/config.json" for one folder a name."""
    if name and not any(c in name for c in ("/", "\\", "\0")) and not name.startswith("."):
        for root in data_roots():
            path = root / kind_folder / (name + suffix)
            if path.is_file():
                return path
    raise InputError(kind_folder, f"{name!r} is not in the catalogue", nearest(name, names(kind_folder, suffix)))


def names(kind_folder: str, suffix: str = ".toml") -> list[str]:
    """Every name that `find` knows in a folder, sorted."""
    found = set()
    for root in data_roots():
        folder = root / kind_folder
        for path in folder.glob("*" + suffix):
            found.add(path.relative_to(folder).as_posix().removesuffix(suffix))
    return sorted(found)

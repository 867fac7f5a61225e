"""A fingerprint of every file of the catalogue, so that a result says which one it was made with."""

from __future__ import annotations

import hashlib
from pathlib import Path

from dse.catalogue.paths import data_roots

FOLDERS = ("hardware", "workloads", "studies")


def catalogue_fingerprint() -> str:
    """SHA-256 over names and contents of all files, the user's own folders first; in hexadecimal."""
    digest = hashlib.sha256()
    for root in data_roots():
        for path in sorted(p for folder in FOLDERS for p in (root / folder).rglob("*") if p.is_file()):
            name = path.relative_to(root).as_posix().encode("utf-8", "surrogateescape")
            digest.update(b"%d:%s%s" % (len(name), name, file_fingerprint(path).encode()))
    return digest.hexdigest()


def file_fingerprint(path: Path) -> str:
    """SHA-256 of one file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

"""Writes calibration documents as TOML, whole or not at all."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

from dse.errors import EnvironmentProblem


def dumps(tree: Mapping[str, Any], comment: str = "") -> str:
    """TOML of plain values, dates, and tables; a table that has a `value` is written inline."""
    lines = [f"# {line}" for line in comment.splitlines()]
    lines += [f"{key} = {_inline(value)}" for key, value in tree.items() if not _is_section(value)]
    for key, value in tree.items():
        if _is_section(value):
            lines += _section(key, value)
    return "\n".join(lines) + "\n"


def write_atomic(path: Path, text: str) -> None:
    """The text into a file that is never seen half written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(name, 0o644)
        os.replace(name, path)
    except OSError as problem:
        raise EnvironmentProblem(str(path), problem.strerror or str(problem)) from None


def _section(name: str, table: Mapping[str, Any]) -> list[str]:
    own = {key: value for key, value in table.items() if not _is_section(value)}
    lines = ["", f"[{name}]", *(f"{key} = {_inline(value)}" for key, value in own.items())] if own else []
    for key, value in table.items():
        if _is_section(value):
            lines += _section(f"{name}.{key}", value)
    return lines


def _is_section(value: object) -> bool:
    return isinstance(value, Mapping) and "value" not in value


def _inline(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{k} = {_inline(v)}" for k, v in value.items()) + " }"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, date):
        return value.isoformat()
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)

"""Calibration documents as TOML."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date
from typing import Any


def dumps(tree: Mapping[str, Any], comment: str = "") -> str:
    """TOML of plain values, dates, and tables; a table that has a `value` is written inline."""
    lines = [f"# {line}" for line in comment.splitlines()]
    lines += [f"{key} = {_inline(value)}" for key, value in tree.items() if not _is_section(value)]
    for key, value in tree.items():
        if _is_section(value):
            lines += _section(key, value)
    return "\n".join(lines) + "\n"


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

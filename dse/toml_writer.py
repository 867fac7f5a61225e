"""Plain values as TOML."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import date
from typing import Any

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def dumps(tree: Mapping[str, Any], comment: str = "") -> str:
    """TOML of plain values, lists, dates, and tables; a table that has a `value` is written inline."""
    lines = [f"# {line}" for line in comment.splitlines()]
    lines += _cells(tree)
    for key, value in tree.items():
        if _is_section(value):
            lines += _section(_key(key), value)
    return "\n".join(lines) + "\n"


def _section(name: str, table: Mapping[str, Any]) -> list[str]:
    own = _cells(table)
    lines = ["", f"[{name}]", *own] if own else []
    for key, value in table.items():
        if _is_section(value):
            lines += _section(f"{name}.{_key(key)}", value)
    return lines


def _cells(table: Mapping[str, Any]) -> list[str]:
    return [f"{_key(key)} = {_inline(value)}" for key, value in table.items() if not _is_section(value)]


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _text(name)


def _is_section(value: object) -> bool:
    return isinstance(value, Mapping) and "value" not in value


def _inline(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(k)} = {_inline(v)}" for k, v in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_inline, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, date):
        return value.isoformat()
    return _text(value) if isinstance(value, str) else repr(value)


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")     # JSON lets DEL stand as it is

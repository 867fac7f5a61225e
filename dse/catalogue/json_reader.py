"""Reading untrusted JSON objects key by key: every value that is used is checked, and nothing else is looked at."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import TypeVar

from dse.errors import InputError

_T = TypeVar("_T")

MAX_BYTES = 2 * 1024 * 1024
MAX_DEPTH = 40
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)


def show(value: object) -> str:
    """A value short enough for one line of an error, whatever it holds."""
    if isinstance(value, int) and value.bit_length() > 64:  # printing a huge integer is itself an error in Python
        return f"an integer of {value.bit_length()} bits"
    if isinstance(value, dict | list):
        return f"a {'list' if isinstance(value, list) else 'table'} of {len(value)}"
    text = repr(value[:48] if isinstance(value, str) else value)
    return text if len(text) <= 60 else text[:57] + "..."


def parse_object(text: str, where: str) -> dict[str, object]:
    """The JSON object in `text`; anything else is an InputError that names the line."""
    _check_depth(text, where)
    try:
        raw: object = json.loads(text)
    except json.JSONDecodeError as error:
        place = f"{where}: line {error.lineno}"
        raise InputError(place, f"is not JSON: {error.msg}", "is the file complete?") from None
    except (ValueError, RecursionError):  # an integer of thousands of digits; a nesting the check did not see
        raise InputError(where, "is not usable JSON: a number is too long or the nesting too deep") from None
    if not isinstance(raw, dict):
        raise InputError(where, f"holds {show(raw)}, expected a JSON object")
    return raw


def _check_depth(text: str, where: str) -> None:
    """Refuse deep nesting before a recursive parser sees it; brackets inside strings do not count."""
    depth = 0
    for bracket in re.findall(r"[\[\]{}]", _STRING.sub("", text)):
        depth += 1 if bracket in "[{" else -1
        if depth > MAX_DEPTH:
            raise InputError(where, f"nests deeper than {MAX_DEPTH} levels, which no model's config does")


def read_text(path: Path) -> str:
    """A small text file, or an InputError; devices and pipes are not opened."""
    where = str(path)
    try:
        if not path.is_file():
            raise InputError(where, "is not a file", "give a config.json or a folder that holds one")
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        raise InputError(where, f"cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if len(data) > MAX_BYTES:
        raise InputError(where, f"is larger than {MAX_BYTES // 1024**2} MiB, the most a config may have")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(where, "is not UTF-8 text") from None


class Reader:
    """Typed, bounded access to the keys of one JSON object.

    A key may be given as alternatives, `"num_hidden_layers|n_layer"`; the first that is present and not null is read.
    null means absent, as in the hub's own files. Without a default, an absent key is an error.
    """

    def __init__(self, raw: Mapping[str, object], where: str, prefix: str = "") -> None:
        self.raw, self.file, self.prefix = raw, where, prefix

    def where(self, key: str) -> str:
        """The file and the full key, for an error."""
        return f"{self.file}: {self.prefix}{key}"

    def fault(self, key: str, message: str, hint: str = "") -> InputError:
        """An error about one key."""
        return InputError(self.where(key), message, hint)

    def has(self, key: str) -> bool:
        """Whether one of the alternatives is present and not null."""
        return self._find(key)[1] is not None

    def with_defaults(self, defaults: Mapping[str, object]) -> Reader:
        """The same object, with values for keys that the hub's files leave out where they equal the class's default."""
        present = {key: value for key, value in self.raw.items() if value is not None}
        return Reader({**defaults, **present}, self.file, self.prefix)

    def integer(self, key: str, low: int, high: int, default: int | None = None) -> int:
        """An integer in [low, high]; true and 4096.0 are not integers."""
        name, value = self._find(key)
        expected = f"an integer in {low}..{high}"
        if value is None:
            return self._absent(key, expected, default)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise self.fault(name, f"is {show(value)}, expected {expected}")
        return value

    def maybe_integer(self, key: str, low: int, high: int) -> int | None:
        """An integer in [low, high], or None where the key is absent."""
        return self.integer(key, low, high) if self.has(key) else None

    def number(self, key: str, low: float, high: float, default: float | None = None) -> float:
        """A finite number in [low, high]."""
        name, value = self._find(key)
        expected = f"a number in {low:g}..{high:g}"
        if value is None:
            return self._absent(key, expected, default)
        # NaN fails both comparisons
        if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
            raise self.fault(name, f"is {show(value)}, expected {expected}")
        return float(value)

    def flag(self, key: str, default: bool | None = None) -> bool:
        """true or false."""
        name, value = self._find(key)
        if value is None:
            return self._absent(key, "true or false", default)
        if not isinstance(value, bool):
            raise self.fault(name, f"is {show(value)}, expected true or false")
        return value

    def text(self, key: str, default: str | None = None) -> str:
        """A string."""
        name, value = self._find(key)
        if value is None:
            return self._absent(key, "a string", default)
        if not isinstance(value, str):
            raise self.fault(name, f"is {show(value)}, expected a string")
        return value

    def choice(self, key: str, known: Iterable[str], default: str | None = None) -> str:
        """One of the known strings."""
        names = sorted(known)
        value = self.text(key, default)
        if value not in names:
            raise self.fault(key, f"is {show(value)}, expected one of {', '.join(names)}")
        return value

    def choices(self, key: str, known: Iterable[str], length: int) -> list[str]:
        """A list of `length` strings, each one of the known."""
        names = set(known)
        values = self._list(key, length)
        for index, value in enumerate(values):
            if not isinstance(value, str) or value not in names:
                message = f"is {show(value)}, expected one of {', '.join(sorted(names))}"
                raise self.fault(f"{key}[{index}]", message)
        return [str(value) for value in values]

    def integers(self, key: str, low: int, high: int, length: int | None = None) -> list[int]:
        """A list of integers in [low, high], of `length` where it is given; absent is empty."""
        if not self.has(key):
            return []
        values = self._list(key, length)
        for index, value in enumerate(values):
            if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
                raise self.fault(f"{key}[{index}]", f"is {show(value)}, expected an integer in {low}..{high}")
        return [value for value in values if isinstance(value, int)]

    def sub(self, key: str) -> Reader | None:
        """A nested object, or None where the key is absent."""
        name, value = self._find(key)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise self.fault(name, f"is {show(value)}, expected a table")
        return Reader(value, self.file, f"{self.prefix}{name}.")

    def subs(self, key: str, length: int) -> list[Reader]:
        """A list of `length` nested objects."""
        values = self._list(key, length)
        for index, value in enumerate(values):
            if not isinstance(value, dict):
                raise self.fault(f"{key}[{index}]", f"is {show(value)}, expected a table")
        nested = [value for value in values if isinstance(value, dict)]
        return [Reader(value, self.file, f"{self.prefix}{key}[{i}].") for i, value in enumerate(nested)]

    def _list(self, key: str, length: int | None) -> list[object]:
        value = self._find(key)[1]
        expected = "a list" if length is None else f"a list of {length}"
        if not isinstance(value, list) or (length is not None and len(value) != length):
            raise self.fault(key, f"is {show(value)}, expected {expected}")
        return value

    def _find(self, key: str) -> tuple[str, object]:
        """The first alternative that is present and not null, with its value."""
        names = key.split("|")
        return next(((n, self.raw[n]) for n in names if self.raw.get(n) is not None), (names[0], None))

    def _absent(self, key: str, expected: str, default: _T | None) -> _T:
        """The default, or an error that names a key that looks like the missing one."""
        if default is not None:
            return default
        names = key.split("|")
        known = [k for k in self.raw if isinstance(k, str) and len(k) <= 64][:1000]
        near = next((close[0] for n in names if (close := get_close_matches(n, known, 1, 0.8))), None)
        state = "is null" if names[0] in self.raw else "is missing"
        hint = f"did you mean {near!r}?" if near and near not in names else ""
        raise self.fault(names[0], f"{state}, expected {expected}", hint)

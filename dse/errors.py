"""Errors as part of the interface: one line that says where, what was expected and what to do."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


class DseError(Exception):
    """An error whose text a user can act on.

    `code` is the exit status (2 bad input, 3 infeasible, 4 nothing feasible found, 5 a check failed,
    6 environment), `where` the file and key, `message` what is wrong and what was expected, `hint` what to do.
    """

    code = 1

    def __init__(self, where: str, message: str, hint: str = "") -> None:
        self.where, self.message, self.hint = where, message, hint
        super().__init__(str(self))

    def __str__(self) -> str:
        line = f"{self.where}: {self.message}" if self.where else self.message
        return " ".join(f"{line}; {self.hint}".split() if self.hint else line.split())

    def document(self) -> dict[str, object]:
        """The error as the `error` member of a JSON document."""
        return {"code": self.code, "where": self.where, "message": self.message, "hint": self.hint}


class InputError(DseError):
    """Something a user wrote cannot be used."""

    code = 2


class InfeasiblePlanError(DseError):
    """A plan does not fit, and nothing is made of it."""

    code = 3


class NothingFeasibleError(DseError):
    """A search saw no plan that meets its constraints."""

    code = 4


class CheckFailedError(DseError):
    """A check ran and disagrees."""

    code = 5


class EnvironmentProblem(DseError):  # noqa: N818 - `EnvironmentError` is a builtin
    """A disk, database or optional package is missing."""

    code = 6


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint that names the closest known names, or all of them where none is close."""
    names = sorted(known)
    close = get_close_matches(str(name), names, n=3, cutoff=0.5)
    if close:
        return "did you mean " + " or ".join(repr(n) for n in close) + "?"
    return "known: " + ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")

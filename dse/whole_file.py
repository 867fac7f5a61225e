"""Writing a file whole or not at all."""

from __future__ import annotations

import errno
import os
import secrets
from pathlib import Path

from dse.errors import EnvironmentProblem, InputError

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EIO)


def write_whole(path: Path, data: bytes) -> None:
    """Write beside the target, then rename: a reader sees the old file or the new one, never a half."""
    try:
        target = _target(path)
        temporary = target.with_name(f".{secrets.token_hex(8)}.part")
        try:
            with temporary.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(target)
        except BaseException:       # an interrupt as well: nothing may be left behind
            temporary.unlink(missing_ok=True)
            raise
    except (OSError, ValueError) as problem:
        reason = getattr(problem, "strerror", None) or str(problem)
        if getattr(problem, "errno", None) in _FULL:
            raise EnvironmentProblem(str(path), f"cannot be written ({reason})", "make room, then try again") from None
        raise InputError(str(path), f"cannot be written ({reason})", "expected a file in a folder that exists",
                         ) from None


def _target(path: Path) -> Path:
    """The file behind links. A device or a folder is no target: a rename would put a file in its place."""
    target = path.resolve()
    if target.exists() and not target.is_file():
        raise InputError(str(path), "is not a file and cannot be written", "expected the name of a file")
    if target.exists() and not os.access(target, os.W_OK):
        raise InputError(str(path), "cannot be written (write-protected)", "expected a file that may be replaced")
    return target

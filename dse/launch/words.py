"""A launch as a script that a shell runs and a person reads, and as plain values."""

from __future__ import annotations

import json
import shlex
import textwrap
from collections.abc import Iterator
from typing import Any

from dse.launch.command import Launch, Server

WIDTH = 80


def script(made: Launch, title: str) -> str:
    """Commands, with everything that is none as comments."""
    e = made.engine
    lines = [*comment(title), *comment(f"{e.title} {e.version}; flags from: {e.source}")]
    for server in made.servers:
        lines += ["", *comment(_head(server)), *command_lines(server)]
    lines += _list("No flag of the engine says:", made.missing) + _list("To know:", made.remarks)
    return "\n".join(lines) + "\n"


def commands(made: Launch) -> str:
    """The commands alone."""
    return "\n".join("\n".join(command_lines(server)) for server in made.servers) + "\n"


def command_lines(server: Server) -> list[str]:
    """The command, quoted for a shell, a flag a line; first the engine's own file where it needs one."""
    lines = [shlex.join(group) for group in server.groups]
    folded = [line if n == 0 else f"    {line}" for n, line in enumerate(lines)]
    return [*_file(server), *(f"{line} \\" for line in folded[:-1]), folded[-1]]


def launch_document(made: Launch) -> dict[str, Any]:
    """Every server with its words and as one line."""
    e = made.engine
    return {
        "engine": e.title, "version": e.version, "source": e.source, "checked": e.checked.isoformat(),
        "servers": [{"role": s.role or None, "count": s.count, "devices": s.devices, "words": s.words,
                     "command": shlex.join(s.words), "config": dict(s.config)} for s in made.servers],
        "missing": list(made.missing), "remarks": list(made.remarks),
    }


def _head(server: Server) -> str:
    what = f"{server.role} server" if server.role else "server"
    devices = f"{server.devices} device{'s' if server.devices > 1 else ''}"
    return f"{server.count} {what}{'s' if server.count > 1 else ''} of {devices}" + (
        ", each started so (ports of their own, a load balancer in front)" if server.count > 1 else "")


def _file(server: Server) -> list[str]:
    """The engine's own file, written by the shell. JSON values are YAML."""
    if not server.config:
        return []
    body = [f"{key}: {json.dumps(value)}" for key, value in server.config.items()]
    return [f"cat > {server.role or 'engine'}.yaml <<'END'", *body, "END"]


def _list(head: str, texts: tuple[str, ...]) -> list[str]:
    return ["", *comment(head), *(line for text in texts for line in comment(text, "- "))] if texts else []


def comment(text: str, bullet: str = "") -> Iterator[str]:
    """Text as comment lines: names in it may hold anything, and a line break would end the comment."""
    plain = "".join(c if c.isprintable() else " " for c in text)
    return (f"# {line}" for line in textwrap.wrap(plain, WIDTH - 2, initial_indent=bullet,
                                                  subsequent_indent=" " * len(bullet)) or [""])

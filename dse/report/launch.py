"""Commands that take a plan of the page further: evaluate it again, start it."""

from __future__ import annotations

import shlex
from typing import Any

from dse.report.words import shorten

Document = dict[str, Any]
_LOADS = ("batch", "concurrency", "rate")
_ENGINES = ("vllm", "sglang", "trtllm")
LONGEST = 2000


def commands(result: Document, member: Document, folder: str | None) -> list[tuple[str, str]]:
    """What a command does, and the command; none of a plan that was only evaluated: that is the page's own command.

    folder: holds the result; without it the page says DIR.
    """
    if not result["counts"]["considered"]:
        return []
    plan = f"{folder or 'DIR'}#{member['id']}"
    engine = str(member["system"].get("engine") or _ENGINES[0])
    held, place = result.get("commands") or [], result["front"].index(member)
    evaluate = held[place] if place < len(held) else shlex.join(
        ["dse", "evaluate", _name(member["model"]["name"]), "--hardware", _name(member["system"]["name"]),
         "--engine", engine, "--plan", plan, *_numbers(member["traffic"])])
    launch = ["dse", "export", plan, "--engine", engine if engine in _ENGINES else _ENGINES[0]]
    return [("the same figures again", shorten(evaluate, LONGEST)),
            ("the command that starts the server", shorten(shlex.join(launch), LONGEST))]


def _numbers(traffic: Document) -> list[str]:
    """The traffic as options."""
    names = [n for n in ("input_tokens", "output_tokens", *_LOADS) if isinstance(traffic.get(n), int | float)]
    return [word for n in names for word in (f"--{n.replace('_', '-')}", f"{traffic[n]:.12g}")]


def _name(text: object) -> str:
    return shorten(text, 200)

"""The report: one HTML page that needs no network.

Nothing in the page can fetch or run anything but its own two scripts: its content security policy allows those by
their hashes and forbids the rest. Values reach it through Jinja2's autoescape or as JSON that cannot end its element.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from dse.report.figures import chosen, panels
from dse.report.result import read_result
from dse.report.story import answer, asked, cards, outcome
from dse.report.words import shorten
from dse.whole_file import write_whole

__all__ = ["read_result", "render", "write_report"]
_ESCAPES = {ord(c): f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"}


@dataclass(frozen=True, slots=True)
class Assets:
    """What every page carries: style, the two scripts, and the policy that allows nothing else."""

    style: Markup
    plotly: Markup
    script: Markup
    policy: str


def assets() -> Assets:
    """The assets of a page."""
    plotly, script = _script(_plotly()), _script(own_file("page.js"))
    return Assets(Markup(own_file("page.css")), plotly, script, _policy(plotly, script))


def environment() -> Environment:
    """Jinja2 as every page uses it: what is not Markup is escaped, what is missing is an error."""
    return Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)


def write_report(result: Mapping[str, Any], path: Path) -> None:
    """Write the page of a result, whole or not at all."""
    # a lone surrogate is legal in JSON and has no UTF-8 form
    write_whole(path, render(dict(result)).encode("utf-8", "replace"))


def render(result: dict[str, Any]) -> str:
    """The page as text."""
    shown = panels(result)
    figures = {key: figure for panel in shown for key, figure in panel.figures.items()}
    held = assets()
    search = result["search"]
    return environment().from_string(own_file("template.html.j2")).render(
        title=f"{shorten(search['model'])} on {shorten(search['hardware'])}",
        version=result["version"], command=shorten(search.get("command") or "", 2000),
        asked=asked(result), answer=answer(result),
        cards=cards(result), outcome=outcome(result), chosen=chosen(result), panels=shown,
        style=held.style, plotly=held.plotly, script=held.script, figures=data(figures), policy=held.policy)


def data(value: object) -> Markup:
    """JSON for a <script type="application/json">, without any character that HTML could read as markup."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    return Markup(text.translate(_ESCAPES))


def own_file(name: str) -> str:
    """A template, style or script that lies beside this module."""
    return files("dse.report").joinpath(name).read_text(encoding="utf-8")


def _plotly() -> str:
    from plotly.offline import get_plotlyjs  # here, because Plotly is slow to import

    return str(get_plotlyjs())


def _script(source: str) -> Markup:
    """A script as it may stand between tags; line ends as a browser reads them, or its hash would differ."""
    return Markup(source.replace("\r\n", "\n").replace("\r", "\n").replace("</script", "<\\/script")
                  .replace("<!--", "<\\!--"))


def _policy(*scripts: str) -> str:
    """The content security policy: no network, no script but these."""
    hashes = " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(s.encode()).digest()).decode()}'" for s in scripts)
    return (f"default-src 'none'; script-src {hashes}; style-src 'unsafe-inline'; img-src data: blob:; "
            "base-uri 'none'; form-action 'none'")

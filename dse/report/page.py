"""The report: one HTML page that needs no network.

Nothing in the page can fetch or run anything but its own scripts: its content security policy allows those by their
hashes and forbids the rest. Plotly and the figures are stored compressed; the page's script unpacks them, a plan's
figures when the plan is chosen. Values reach the page through Jinja2's autoescape or inside that compressed JSON.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from dse.report.figures import chosen, panels, plan_panels
from dse.report.launch import commands
from dse.report.panel import Panel, Table
from dse.report.result import read_result
from dse.report.story import answer, asked, cards, outcome, plan_cards, plan_sentence
from dse.report.words import shorten
from dse.whole_file import write_whole

__all__ = ["read_result", "render", "write_report"]
TOGETHER = 10
"""Plans of a compressed part."""


@dataclass(frozen=True, slots=True)
class Assets:
    """What every page carries: style, Plotly compressed, the page's own script, and the policy that allows no more."""

    style: Markup
    plotly: str
    script: Markup
    policy: str


@cache
def assets() -> Assets:
    """The assets of a page. Plotly's source becomes a script in the browser, so its hash is that of the source."""
    plotly, script = _script(_plotly()), _script(own_file("page.js"))
    return Assets(Markup(own_file("page.css")), packed_text(plotly), script, _policy(plotly, script))


def environment() -> Environment:
    """Jinja2 as every page uses it: what is not Markup is escaped, what is missing is an error."""
    return Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)


def write_report(result: Mapping[str, Any], path: Path, folder: str | None = None) -> None:
    """Write the page of a result, whole or not at all. folder: where the result is kept, for the commands shown."""
    # a lone surrogate is legal in JSON and has no UTF-8 form
    write_whole(path, render(dict(result), folder).encode("utf-8", "replace"))


def render(result: dict[str, Any], folder: str | None = None) -> str:
    """The page as text."""
    shown, plan, held = panels(result), chosen(result), assets()
    search = result["search"]
    figures = {key: figure for panel in shown for key, figure in panel.figures.items()}
    ids = [member["id"] for member in result["front"]]
    return environment().from_string(own_file("template.html.j2")).render(
        title=heading(search), version=result["version"], command=shorten(search.get("command") or "", 2000),
        asked=asked(result), answer=answer(result), cards=cards(result), outcome=outcome(result), plan=plan,
        panels=shown, plan_panels=[] if plan is None else plan_panels(plan),
        plan_words="" if plan is None else plan_sentence(plan), plan_cards=[] if plan is None else plan_cards(plan),
        commands=[] if plan is None else commands(result, plan, folder),
        data=packed({"figures": figures, "chosen": result["chosen"], "ids": ids, "together": TOGETHER}),
        plans=[packed(plans_data(result, part, folder)) for part in batched(result["front"])],
        style=held.style, plotly=held.plotly, script=held.script, policy=held.policy)


def heading(search: Mapping[str, Any]) -> str:
    """The page's title: the question's own, else model and machine."""
    return shorten(search.get("title") or f"{shorten(search['model'])} on {shorten(search['hardware'])}", 160)


def batched(members: Sequence[dict[str, Any]]) -> Iterator[Sequence[dict[str, Any]]]:
    """Plans that are stored together: what they have in common is then compressed away."""
    return (members[i:i + TOGETHER] for i in range(0, len(members), TOGETHER))


def plans_data(result: dict[str, Any], members: Sequence[dict[str, Any]], folder: str | None) -> dict[str, Any]:
    """All that the page shows of some plans: words, and by panel the figures and tables of each plan in turn."""
    shown = [plan_panels(member) for member in members]
    by_key = [{panel.key: panel for panel in panels} for panels in shown]
    return {
        "words": [[plan_sentence(m), plan_cards(m), commands(result, m, folder)] for m in members],
        "panels": {key: [panel_data(panels[key]) for panels in by_key] for key in by_key[0]}}


def panel_data(panel: Panel) -> dict[str, Any]:
    """Text, figures and tables of a panel; a cell is its text, or text and exact number."""
    return {"title": panel.title, "text": panel.text, "captions": dict(panel.captions),
            "figures": dict(panel.figures), "tables": [_table(t) for t in panel.tables]}


def _table(table: Table) -> dict[str, Any]:
    rows = [[cell.text if cell.exact is None else [cell.text, cell.exact] for cell in row] for row in table.rows]
    return {"caption": table.caption, "head": list(table.head), "rows": rows, "marked": table.marked}


def packed(value: object) -> str:
    """JSON, compressed, as text that HTML cannot read as markup."""
    return packed_text(json.dumps(value, allow_nan=False, separators=(",", ":")))


def packed_text(text: str) -> str:
    """Text compressed (gzip, base64); the same text gives the same characters."""
    return base64.b64encode(gzip.compress(text.encode("utf-8", "replace"), 6, mtime=0)).decode()


def own_file(name: str) -> str:
    """A template, style or script that lies beside this module."""
    return files("dse.report").joinpath(name).read_text(encoding="utf-8")


def _plotly() -> str:
    """Plotly's bundle."""
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

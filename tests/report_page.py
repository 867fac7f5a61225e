"""A written page as a test reads it: its figures, its tags and text, and what it holds compressed."""

from __future__ import annotations

import base64
import gzip
import json
import re
from html.parser import HTMLParser
from typing import Any

import plotly.graph_objects as go

from dse.report.figures import chosen, panels, plan_panels

OF_RESULT = ["front", "curves-0-usd_per_mtok", "curves-0-tpot_s", "parallel", "sweep-tpot_s", "sweep-ttft_s"]
OF_PLAN = ["prefill", "decode", "layer", "roofline", "memory", "cost", "elasticity"]


def drawn(result: dict[str, Any]) -> dict[str, Any]:
    """Every figure by its key, as Plotly accepts it."""
    plan = chosen(result)
    shown = [*panels(result), *(plan_panels(plan) if plan else ())]
    figures = {key: figure for panel in shown for key, figure in panel.figures.items()}
    for figure in figures.values():     # raises for a property that Plotly does not know
        go.Figure({key: figure[key] for key in ("data", "layout")})
    return figures


def unpacked(page: str, name: str) -> Any:
    """What the page stores compressed under an id."""
    [text] = re.findall(f'<script type="application/gzip" id="{name}">([A-Za-z0-9+/=]*)</script>', page)
    return json.loads(gzip.decompress(base64.b64decode(text)))


class Tags(HTMLParser):
    """The tags of a page with their attributes, and the text outside scripts."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        tag = self.tags[-1][0] if self.tags else ""
        self.text += "" if tag == "script" else data

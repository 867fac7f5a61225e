"""The page in a browser: every figure is drawn, nothing is fetched, no error is logged, names are text."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from report_sample import hostile, sample

from dse.report.page import write_report


def missing(reason: str) -> None:
    """Skip, saying why; where a browser is required it is a failure."""
    if "chromium" in os.environ.get("DSE_REQUIRE", "").split(","):
        pytest.fail(f"DSE_REQUIRE names chromium, but {reason}")
    print(f"skipped: {reason}")
    pytest.skip(reason)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A headless Chromium."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing("the package playwright is not installed")
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        missing("there is no chromium on the path")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield chromium
        chromium.close()


class Visit:
    """A page that was opened, with what it asked the network for and what it complained about."""

    def __init__(self, browser: Any, path: Path, **options: Any) -> None:
        self.page = browser.new_page(**options)
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: self.complaints.append(dialog.message))
        self.page.goto(path.as_uri())
        # not wait_for_function: it evaluates strings, which the page's own policy forbids
        self.page.locator(".js-plotly-plot .cartesianlayer").nth(6).wait_for(state="attached")
        assert self.requests == [path.as_uri()]


@pytest.mark.parametrize(("width", "scheme"), [(1440, "light"), (400, "dark")])
def test_all_figures_are_drawn_without_network_or_complaint(browser: Any, width: int, scheme: str,
                                                            tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    write_report(sample(), path)
    visit = Visit(browser, path, viewport={"width": width, "height": 900}, color_scheme=scheme)
    count = "[...document.querySelectorAll('.plot')].filter(p => p.querySelector('.cartesianlayer .trace')).length"
    assert visit.page.evaluate(count) == 7
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= width
    assert visit.page.evaluate("[...document.querySelectorAll('.plot')].every(p => p.data.length > 0)")
    assert visit.complaints == []
    visit.page.close()


def test_the_page_prints(browser: Any, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    write_report(sample(), path)
    visit = Visit(browser, path, color_scheme="dark")
    assert len(visit.page.pdf(format="A4")) > 10_000
    assert not visit.page.evaluate("document.documentElement.classList.contains('printing')")
    assert visit.complaints == []
    visit.page.close()


def test_hostile_names_are_text(browser: Any, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    write_report(hostile(), path)
    visit = Visit(browser, path, viewport={"width": 400, "height": 900})
    assert visit.page.evaluate("document.querySelectorAll('img, .plot a, .plot b').length") == 0
    assert visit.page.evaluate("document.scripts.length") == 3
    assert "<img src=x onerror=alert(1)>" in visit.page.inner_text("h1")
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= 400
    labels = visit.page.evaluate("[...document.querySelectorAll('.plot text')].map(t => t.textContent)")
    assert any("<img src=x" in text for text in labels)
    visit.page.hover(".plot[data-figure=front] .points path >> nth=-1", force=True)
    assert visit.complaints == []
    visit.page.close()

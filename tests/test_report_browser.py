"""The page in a browser: every figure is drawn and follows the plan, nothing is fetched, no error is logged, names are
text.
"""

from __future__ import annotations

import csv
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from report_sample import evaluated, hostile, sample

from dse.report.page import write_report
from dse.report.plans import plans_result


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

    def __init__(self, browser: Any, path: Path, address: str = "", **options: Any) -> None:
        # no file of the page is larger than its window here: a figure is drawn when it comes near the window
        self.page = browser.new_page(**{"viewport": {"width": 1440, "height": 12000}, **options})
        self.requests: list[str] = []
        self.complaints: list[str] = []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: self.complaints.append(dialog.message))
        self.page.goto(path.as_uri() + address)
        # not wait_for_function: it evaluates strings, which the page's own policy forbids
        self.page.locator(":root.ready").wait_for(state="attached")
        self.drawn()

    def drawn(self) -> None:
        """Wait until every figure stands."""
        for plot in self.page.locator("[data-figure]").all():
            plot.locator(".cartesianlayer .trace").first.wait_for(state="attached")

    def heading(self, words: str) -> None:
        """Wait until the page is about a plan."""
        self.page.locator("#plan-title", has_text=words).wait_for()
        self.drawn()

    def figure(self, key: str) -> Any:
        """What Plotly holds of a figure: its traces and layout."""
        return self.page.evaluate(
            "key => { const p = document.querySelector(`[data-figure=\"${key}\"]`); "
            "return JSON.parse(JSON.stringify({data: p.data, layout: p.layout})); }", key)

    def close(self) -> None:
        """No complaint, and nothing but the page itself was asked for."""
        assert self.complaints == []
        assert len(self.requests) == 1
        self.page.close()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a result."""
    path = tmp_path_factory.mktemp("page") / "page.html"
    write_report(sample(), path, "out")
    return path


def colour_of_paper(visit: Visit) -> str:
    """The background that the page shows."""
    found: str = visit.page.evaluate("getComputedStyle(document.body).backgroundColor")
    return found


@pytest.mark.parametrize(("width", "scheme"), [(1440, "light"), (400, "dark")])
def test_all_figures_are_drawn_without_network_or_complaint(browser: Any, width: int, scheme: str, page: Path) -> None:
    visit = Visit(browser, page, viewport={"width": width, "height": 16000}, color_scheme=scheme)
    drawn = "[...document.querySelectorAll('.plot')].filter(p => p.querySelector('.cartesianlayer .trace')).length"
    assert visit.page.evaluate(drawn) == 13
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= width
    visit.close()


def test_a_plan_that_is_clicked_is_followed_by_every_figure_and_table(browser: Any, page: Path) -> None:
    visit = Visit(browser, page)
    assert "Plan 1" in visit.page.inner_text("#plan-title")
    point = visit.page.locator("[data-figure=front] .scatterlayer .trace .points path.point >> nth=-2")
    box = point.bounding_box()
    visit.page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    visit.page.locator("#plan-title", has_not_text="Plan 1").wait_for()
    visit.drawn()
    number = int(visit.page.inner_text("#plan-title").split()[1])
    assert visit.page.url.endswith(f"#plan={number}")
    plan = sample()["front"][number]
    seconds = [x for t in visit.figure("decode")["data"] for x in t["x"]]
    assert sum(seconds) == pytest.approx(plan["metrics"]["decode_step_s"], rel=1e-12)
    assert sum(visit.figure("cost")["data"][0]["x"]) == pytest.approx(plan["metrics"]["usd_per_mtok"], rel=1e-12)
    held = visit.page.locator("#memory table data").evaluate_all("cells => cells.map(c => Number(c.value))")
    assert set(plan["memory"].values()) <= set(held)
    assert f"out#{number}" in visit.page.inner_text("#plan-commands")
    [ring] = [t for t in visit.figure("front")["data"] if t["meta"] == "ring"]
    assert ring["x"] == [plan["metrics"]["usd_per_mtok"]]
    assert visit.page.locator("tr.marked[data-plan]").get_attribute("data-plan") == str(number)
    visit.close()


def test_an_address_shows_the_same_plan_and_axes_again(browser: Any, page: Path) -> None:
    visit = Visit(browser, page, "#plan=2&x=die_mm2&y=joule_per_token")
    assert visit.page.inner_text("#plan-title") == "Plan 2"
    assert visit.page.input_value("#axis-y") == "joule_per_token"
    [ring] = [t for t in visit.figure("front")["data"] if t["meta"] == "ring"]
    plan = sample()["front"][2]
    assert (ring["x"], ring["y"]) == ([plan["system"]["die_mm2"] * 8], [plan["metrics"]["joule_per_token"]])
    visit.page.click("#previous")
    visit.heading("Plan 1")
    assert "plan=1&x=die_mm2&y=joule_per_token" in visit.page.url
    visit.page.go_back()
    visit.heading("Plan 2")
    visit.close()


@pytest.mark.parametrize("address", ["#plan=7", "#plan=x&x=%3Cb%3E", "#%00", "#plan=1e999&y=constructor", "#front"])
def test_an_address_that_names_nothing_shows_the_chosen_plan(browser: Any, address: str, page: Path) -> None:
    visit = Visit(browser, page, address)
    assert visit.page.inner_text("#plan-title") == "Plan 1"
    assert visit.page.input_value("#axis-x") == "usd_per_mtok"
    visit.close()


def test_the_plan_is_chosen_by_keyboard(browser: Any, page: Path) -> None:
    visit = Visit(browser, page)
    visit.page.focus("a[data-plan='2']")
    visit.page.keyboard.press("Enter")
    visit.heading("Plan 2")
    visit.page.focus("#axis-y")
    visit.page.keyboard.press("ArrowDown")
    visit.page.wait_for_url("**#plan=2&y=ttft_s")
    visit.page.focus("#show-intervals")
    visit.page.keyboard.press("Space")
    members = [t for t in visit.figure("front")["data"] if t["meta"] == "member"]
    low, high = sample()["front"][0]["intervals"]["usd_per_mtok"]
    widths = [w for t in members for w in zip(t["error_x"]["arrayminus"], t["error_x"]["array"], strict=True)]
    middle = sample()["front"][0]["metrics"]["usd_per_mtok"]
    assert any(w == pytest.approx((middle - low, high - middle), rel=1e-9) for w in widths)
    visit.close()


def test_a_table_is_downloaded_with_its_exact_numbers(browser: Any, page: Path) -> None:
    visit = Visit(browser, page)
    with visit.page.expect_download() as download:
        visit.page.locator("#front .csv").first.click()
    rows = list(csv.reader(Path(download.value.path()).read_text("utf-8").splitlines()))
    assert download.value.suggested_filename == "the-front.csv"
    assert rows[0][:3] == ["plan", "in words", "cost per million output tokens"]
    assert [float(r[2]) for r in rows[1:]] == [m["metrics"]["usd_per_mtok"] for m in sample()["front"]]
    visit.close()


def test_a_formula_in_a_name_is_no_formula_in_the_table_that_is_downloaded(browser: Any, tmp_path: Path) -> None:
    result = sample()
    result["front"][1]["memory"]["=HYPERLINK(1)"] = 5.0
    write_report(result, tmp_path / "page.html")
    visit = Visit(browser, tmp_path / "page.html")
    visit.page.click("#memory summary")
    with visit.page.expect_download() as download:
        visit.page.locator("#memory .csv").first.click()
    assert "\n'=HYPERLINK(1),5" in Path(download.value.path()).read_text("utf-8").replace("\r", "")
    visit.close()


def test_light_and_dark_can_be_changed_and_follow_the_system_until_then(browser: Any, page: Path) -> None:
    visit = Visit(browser, page, color_scheme="dark")
    dark, ink = colour_of_paper(visit), visit.figure("front")["layout"]["template"]["layout"]["font"]["color"]
    visit.page.click("#theme")
    assert colour_of_paper(visit) == "rgb(255, 255, 255)" != dark
    assert visit.figure("front")["layout"]["template"]["layout"]["font"]["color"] != ink
    visit.page.click("#theme")
    assert colour_of_paper(visit) == dark
    visit.close()


def test_the_page_prints(browser: Any, page: Path) -> None:
    visit = Visit(browser, page, color_scheme="dark")
    assert len(visit.page.pdf(format="A4")) > 10_000
    assert not visit.page.evaluate("document.documentElement.classList.contains('printing')")
    visit.close()


def test_figures_far_down_the_page_are_on_paper_though_nobody_went_there(browser: Any, page: Path) -> None:
    tab = browser.new_page(viewport={"width": 1000, "height": 600})
    tab.goto(page.as_uri())
    tab.locator(":root.ready").wait_for(state="attached")
    count = "document.querySelectorAll('.cartesianlayer .trace').length"
    before = tab.evaluate(count)
    tab.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert tab.evaluate(count) > before
    assert tab.evaluate("[...document.querySelectorAll('.plot')].every(p => p.querySelector('.trace'))")
    tab.close()


def test_hostile_names_are_text(browser: Any, tmp_path: Path) -> None:
    path = tmp_path / "page.html"
    write_report(hostile(), path)
    visit = Visit(browser, path, viewport={"width": 400, "height": 20000})
    tame = len(re.findall("<script", path.read_text("utf-8")))
    assert visit.page.evaluate("document.querySelectorAll('img, .plot a, .plot b').length") == 0
    assert visit.page.evaluate("document.scripts.length") == tame + 1       # and Plotly
    assert "<img src=x onerror=alert(1)>" in visit.page.inner_text("h1")
    assert visit.page.evaluate("document.documentElement.scrollWidth") <= 400
    labels = visit.page.evaluate("[...document.querySelectorAll('.plot text')].map(t => t.textContent)")
    assert any("<img src=x" in text for text in labels)
    visit.page.hover("[data-figure=front] .points path >> nth=-1", force=True)
    visit.page.click("#previous")
    visit.heading("Plan 0")
    assert visit.page.evaluate("document.querySelectorAll('img, .plot a, .plot b').length") == 0
    visit.close()


def test_a_front_of_one_plan_and_plans_that_were_only_evaluated_open(browser: Any, tmp_path: Path) -> None:
    one = {**sample(), "points": None, "landmarks": [], "curves": []}
    one["front"] = one["front"][1:2]
    write_report(one, tmp_path / "one.html")
    write_report(plans_result([evaluated(4, 64)], "dse evaluate"), tmp_path / "lone.html")
    for name in ("one.html", "lone.html"):
        visit = Visit(browser, tmp_path / name)
        assert visit.page.is_disabled("#next")
        assert visit.page.is_disabled("#previous")
        visit.close()

# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The report in a real browser: opened from disk, sorted, filtered, printed, in light and dark."""

import base64
import dataclasses
from pathlib import Path

import pytest
import small_outcome
from browser import open_browser
from contrast import contrast, luminance, parse

from robollm_core.data.broken import BrokenFiles
from robollm_core.evaluation.outcome import Exhibit, Plot, Series, Table
from robollm_core.evaluation.page import render_html
from robollm_core.evaluation.report import Picture, render

pytestmark = pytest.mark.slow

# every text on the page, with its colour and what lies behind it
TEXTS = """
const seen = [];
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const place = walker.currentNode.parentElement;
  if (!walker.currentNode.data.trim() || !place.checkVisibility()) continue;
  if (place.closest("script, style")) continue;
  const style = getComputedStyle(place);
  let behind = "rgba(0, 0, 0, 0)";
  for (let one = place; one && behind === "rgba(0, 0, 0, 0)"; one = one.parentElement)
    behind = getComputedStyle(one).backgroundColor;
  const colour = place.closest("svg") ? style.fill : style.color;
  seen.push([walker.currentNode.data.trim(), colour, behind]);
}
return seen;
"""
CELLS = "return [...document.querySelectorAll(arguments[0])].map((one) => one.textContent);"
SHOWN = (
    "return [...document.querySelectorAll(arguments[0])]"
    ".filter((one) => one.checkVisibility()).map((one) => one.textContent);"
)


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    with open_browser(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    return write(tmp_path_factory.mktemp("page"), small_outcome.outcome(), small_outcome.broken())


@pytest.fixture
def page(driver, path):
    """The sample page, as large and as bright as a browser shows it first."""
    return load(driver, path)


def write(folder, outcome, broken):
    html = render_html(
        small_outcome.TITLE, small_outcome.STAGE, outcome, small_outcome.PROVENANCE, broken
    )
    (folder / "report.html").write_text(html, encoding="utf-8")
    return folder / "report.html"


def load(driver, path: Path, *, width=1280, scheme="light", media=""):
    driver.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False},
    )
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": media, "features": features})
    driver.get_log("browser")  # what an earlier page said
    driver.get(path.as_uri())
    return driver


def ratio(one, other):
    return contrast(parse(one), parse(other))


def keys(*pressed):
    from selenium.webdriver import ActionChains

    return lambda driver: ActionChains(driver).send_keys(*pressed).perform()


def heads(driver, table):
    return driver.find_elements("css selector", f"#{table} thead th")


def column(driver, table, index):
    return driver.execute_script(CELLS, f"#{table} tbody tr > :nth-child({index + 1})")


def test_it_opens_from_disk_without_errors_and_asks_no_network(page):
    assert page.title == small_outcome.TITLE
    assert page.get_log("browser") == []
    asked = page.execute_script("return performance.getEntriesByType('resource').map(r => r.name)")
    assert [name for name in asked if not name.startswith("data:")] == []


def test_every_picture_loads(page):
    widths = page.execute_script("return [...document.images].map((one) => one.naturalWidth)")
    assert len(widths) == 7 * 3 + 4
    assert set(widths) == {128}


def test_every_plot_is_drawn(page):
    boxes = page.execute_script(
        "return [...document.querySelectorAll('svg')].map((svg) => "
        "[svg.clientWidth, svg.clientHeight, svg.querySelectorAll('text').length])"
    )
    assert len(boxes) == 6
    assert all(width > 300 and height > 150 and texts > 5 for width, height, texts in boxes)


def test_a_table_sorts_by_value_on_a_click_and_back_on_another(page):
    table, index = "result-1-table", 2  # recall@1: figures
    button = heads(page, table)[index].find_element("tag name", "button")
    wanted = sorted(row[2]["value"] for row in small_outcome.tables()[0].rows)
    button.click()
    assert heads(page, table)[index].get_attribute("aria-sort") == "ascending"
    shown = [float(text.split()[0]) for text in column(page, table, index)]
    assert shown == pytest.approx(wanted)
    button.click()
    assert heads(page, table)[index].get_attribute("aria-sort") == "descending"
    assert [float(t.split()[0]) for t in column(page, table, index)] == pytest.approx(wanted[::-1])


def test_numbers_sort_by_value_not_by_their_digits(page):
    head = heads(page, "result-1-table")[0]
    head.find_element("tag name", "button").click()
    assert [int(text) for text in column(page, "result-1-table", 0)] == list(range(2, 20))


def test_what_has_no_value_stays_last_both_ways(page):
    table, index = "result-8-table", 2  # two of four rows have no recall
    button = heads(page, table)[index].find_element("tag name", "button")
    for expected in (["0.644", "0.807", "–", "–"], ["0.807", "0.644", "–", "–"]):
        button.click()
        assert [text.split()[0] for text in column(page, table, index)] == expected


def test_only_one_column_says_that_it_is_sorted(page):
    for index in (0, 3):
        heads(page, "result-1-table")[index].find_element("tag name", "button").click()
    told = [head.get_attribute("aria-sort") for head in heads(page, "result-1-table")]
    assert told == [None, None, None, "ascending"]


@pytest.mark.parametrize("key", ["\ue007", " "], ids=["enter", "space"])
def test_a_table_sorts_by_keyboard_alone(page, key):
    head = heads(page, "result-8-table")[0]
    last = heads(page, "result-1-table")[3].find_element("tag name", "button")
    page.execute_script("arguments[0].focus()", last)
    for _ in range(40):
        keys("\ue004")(page)  # tab
        if page.execute_script("return arguments[0].contains(document.activeElement)", head):
            break
    else:
        pytest.fail("the heading cannot be reached with the tab key")
    outline = page.execute_script("return getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"  # the focus is seen
    keys(key)(page)
    names = column(page, "result-8-table", 0)
    assert names == sorted(names)
    assert head.get_attribute("aria-sort") == "ascending"


def test_the_first_key_leads_past_the_contents(page):
    keys("\ue004")(page)
    active = page.switch_to.active_element
    assert active.text == "To the figures"
    keys("\ue007")(page)
    assert page.current_url.endswith("#main")


def test_rows_filter_by_text(page):
    box = page.find_element("css selector", "[data-for='result-1-table'] input")
    box.send_keys("n 41")
    rows = page.execute_script(SHOWN, "#result-1-table tbody tr")
    wanted = [row for row in small_outcome.tables()[0].rows if row[1] == 41]
    assert len(rows) == len(wanted) > 0
    told = page.find_element("css selector", "[data-for='result-1-table'] output").text
    assert told == f"{len(wanted)} of 18"
    for _ in "n 41":
        box.send_keys("\ue003")  # backspace
    assert len(page.execute_script(SHOWN, "#result-1-table tbody tr")) == 18


def test_cases_filter_by_kind_and_by_text(page):
    page.find_element("css selector", "input[value='false alarm']").click()
    shown = page.execute_script(SHOWN, ".exhibit h3")
    assert shown == [f"image {70 + i}" for i in range(4)]
    box = page.find_element("css selector", "[data-for='exhibits'] input[type=search]")
    box.send_keys("IMAGE 72")
    assert page.execute_script(SHOWN, ".exhibit h3") == ["image 72"]
    page.find_element("css selector", "input[name=kind][value='']").click()
    assert page.execute_script(SHOWN, ".exhibit h3") == ["image 72"]
    assert page.find_element("css selector", "[data-for='exhibits'] output").text == "1 of 11"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_is_readable(driver, path, scheme):
    page = load(driver, path, scheme=scheme)
    page.execute_script("document.querySelectorAll('details').forEach((one) => one.open = true)")
    texts = page.execute_script(TEXTS)
    assert len(texts) > 500
    behind = page.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert (luminance(parse(behind)) > 0.5) == (scheme == "light")
    faint = [(t, c, b) for t, c, b in texts if ratio(c, b) < 4.5]
    assert faint == []  # WCAG 2.2 AA


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_series_stand_out_from_the_page(driver, path, scheme):
    page = load(driver, path, scheme=scheme)
    colours = page.execute_script(
        "return [...document.querySelectorAll('svg [style*=--series]')].flatMap((one) => "
        "['stroke', 'fill'].filter((name) => one.style[name].includes('--series'))"
        ".map((name) => getComputedStyle(one)[name]))"
    )
    behind = page.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert len(set(colours)) == 2
    assert [one for one in set(colours) if ratio(one, behind) < 3.0] == []


def test_print_has_no_controls_and_is_light(driver, path):
    page = load(driver, path, scheme="dark", media="print")
    assert page.execute_script(SHOWN, "nav, .controls, .skip") == []
    behind = page.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert luminance(parse(behind)) > 0.9
    assert len(page.execute_script(SHOWN, "table")) >= 3


def test_printing_unfolds_everything_and_folds_it_again(page):
    page.execute_script(
        "window.addEventListener('beforeprint', () => { window.folded = "
        "document.querySelectorAll('details:not([open])').length; })"
    )
    told = page.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})
    assert page.execute_script("return window.folded") == 0
    assert len(page.execute_script(CELLS, "details:not([open])")) == 8
    assert base64.b64decode(told["data"]).startswith(b"%PDF")


def extreme():
    long = "a-name-without-any-space-" * 12
    table = Table(long, (long, *(f"column {i}" for i in range(14))), ((long, *range(14)),), long)
    plot = Plot(long, "x", "y", (Series(long, (long, "b"), (0.1, 0.2)),), note=long)
    exhibit = Exhibit(long, long, ((long, small_outcome.jpeg("a", 3)),) * 4, long)
    return dataclasses.replace(
        small_outcome.outcome(), blocks=(table, plot), exhibits=(exhibit,), networks={long: "ab"}
    )


@pytest.mark.parametrize("names", ["usual", "long"])
def test_a_narrow_page_does_not_scroll_sideways(driver, path, tmp_path, names):
    if names == "long":
        broken = BrokenFiles()
        broken.add("folder/" * 60, "reason" * 60)
        path = write(tmp_path, extreme(), broken)
    page = load(driver, path, width=360)
    assert page.execute_script("return innerWidth") == 360
    assert page.execute_script("return document.documentElement.scrollWidth") <= 360
    # what is wider scrolls by itself, and the keyboard reaches it
    wide = page.execute_script(
        "return [...document.querySelectorAll('.scroll')].filter("
        "(one) => one.scrollWidth > one.clientWidth).map((one) => one.tabIndex)"
    )
    assert wide
    assert set(wide) == {0}


def test_without_a_script_everything_is_there(driver, path):
    driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        page = load(driver, path)
        shown = page.execute_cdp_cmd(
            "Runtime.evaluate",
            {"returnByValue": True, "expression":
             "[document.querySelectorAll('button').length, [...document.querySelectorAll("
             "'tbody tr, .exhibit, svg, .headline dd')].filter((one) => !one.closest('details') && "
             "!one.checkVisibility()).length, [...document.querySelectorAll('.controls')].filter("
             "(one) => one.checkVisibility()).length, "
             "document.querySelectorAll('.exhibit').length]"},
        )["result"]["value"]  # fmt: skip
    finally:
        driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    assert shown == [0, 0, 0, 11]


def test_the_page_of_the_demo_opens_and_is_readable_in_both(driver, tmp_path):
    jpeg = base64.b64encode(small_outcome.jpeg("frame", 9)).decode("ascii")
    html = render("Demo", "lead", rows={"frames": 3}, pictures=[Picture("frame 0", jpeg, ())],
                  footer=["one line"])  # fmt: skip
    (tmp_path / "index.html").write_text(html, encoding="utf-8")
    for scheme in ("light", "dark"):
        page = load(driver, tmp_path / "index.html", scheme=scheme)
        assert page.get_log("browser") == []
        assert page.execute_script("return document.images[0].naturalWidth") == 128
        assert [t for t, c, b in page.execute_script(TEXTS) if ratio(c, b) < 4.5] == []


def test_a_faint_text_would_be_noticed(page):
    page.execute_script("document.querySelector('h1').style.color = '#999'")
    assert [t for t, c, b in page.execute_script(TEXTS) if ratio(c, b) < 4.5] == [
        small_outcome.TITLE
    ]

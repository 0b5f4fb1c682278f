# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The report stands alone, shows all that an outcome says, and escapes what comes from outside."""

import base64
import dataclasses
import hashlib
import json
import re
from html.parser import HTMLParser

import pytest
import small_outcome

from robollm_core.data.broken import BrokenFiles
from robollm_core.evaluation import page
from robollm_core.evaluation.outcome import Exhibit, Mark, Matrix, Outcome, Plot, Series, Table
from robollm_core.evaluation.page import markdown_row, plain, render_html, render_markdown

EVIL = '<script>alert("1")</script>\'"><img src=https://example.org/x onerror=alert(2)> {{ 7*7 }}'


class Page(HTMLParser):
    """What a browser would see of a page: elements, and the text of each."""

    VOID = frozenset("meta link img input br hr".split())

    def __init__(self, html):
        super().__init__()
        self.elements, self.open, self.text = [], [], []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        element = {"tag": tag, "text": "", **dict(attrs)}
        self.elements.append(element)
        if tag not in self.VOID:
            self.open.append(element)

    def handle_endtag(self, tag):
        assert self.open.pop()["tag"] == tag, f"</{tag}> closes nothing"

    def handle_data(self, data):
        for element in self.open:
            element["text"] += data

    def all(self, *tags):
        return [element for element in self.elements if element["tag"] in tags]


def render(outcome=None, provenance=None, broken=None, title=small_outcome.TITLE):
    return render_html(
        title,
        small_outcome.STAGE,
        outcome or small_outcome.outcome(),
        small_outcome.PROVENANCE if provenance is None else provenance,
        broken or small_outcome.broken(),
    )


@pytest.fixture(scope="module")
def html():
    return render()


@pytest.fixture(scope="module")
def seen(html):
    return Page(html)


def evil_outcome():
    table = Table(EVIL, (EVIL, "b"), ((EVIL, 1),), EVIL)
    plot = Plot(EVIL, EVIL, EVIL, (Series(EVIL, (EVIL,), (0.5,)),) * 2, (Mark(0, 0.5, EVIL),))
    matrix = Matrix(EVIL, (EVIL,), (EVIL,), ((1,),), EVIL)
    exhibit = Exhibit(EVIL, EVIL, ((EVIL, small_outcome.jpeg("x", 1)),), EVIL)
    figures = {EVIL: small_outcome.figure(0.5), "protocol": EVIL}
    return Outcome(figures, (), (table, plot, matrix), (exhibit,), networks={EVIL: EVIL})


def test_nothing_is_loaded_from_anywhere(seen, html):
    for element in seen.elements:
        for name in ("src", "href", "srcset", "action", "data", "poster"):
            value = element.get(name, "#")
            assert value.startswith(("#", "data:image/jpeg;base64,")), (element["tag"], value)
    assert not seen.all("link", "iframe", "object", "embed", "base")
    style = seen.all("style")[0]["text"]
    assert "url(" not in style
    assert "@import" not in style
    assert not re.search(r"https?://", html)


def test_the_browser_is_told_to_run_our_script_alone(seen):
    (script,) = seen.all("script")
    digest = base64.b64encode(hashlib.sha256(script["text"].encode()).digest()).decode()
    (policy,) = [e["content"] for e in seen.all("meta") if "http-equiv" in e]
    assert f"script-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy


def test_the_same_outcome_gives_the_same_bytes(html):
    assert render() == html


def test_headings_are_in_order_and_landmarks_are_there(seen):
    levels = [int(e["tag"][1]) for e in seen.all("h1", "h2", "h3", "h4")]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(b <= a + 1 for a, b in zip(levels, levels[1:], strict=False))
    for tag in ("header", "nav", "main", "footer"):
        assert len(seen.all(tag)) == 1
    assert all(e["text"].strip() for e in seen.all("h1", "h2", "h3", "th", "button", "summary"))


def test_ids_are_unique_and_links_and_labels_find_them(seen):
    ids = [element["id"] for element in seen.elements if "id" in element]
    assert len(ids) == len(set(ids))
    asked = [e[name].removeprefix("#") for e in seen.elements
             for name in ("href", "aria-labelledby", "data-for") if name in e]  # fmt: skip
    assert asked
    assert set(asked) <= set(ids)


def test_the_headline_has_every_figure_of_the_top_with_interval_and_n(seen):
    (shown,) = [e["text"] for e in seen.all("dl") if e.get("class") == "headline"]
    words = " ".join(shown.split())
    assert "recall@1 (N=1)0.807 [0.782, 0.828] n 923" in words
    assert words.count(" n 923") == 8


def test_where_it_comes_from_is_all_there(seen):
    text = " ".join(e["text"] for e in seen.all("dd"))
    for said in (small_outcome.PROVENANCE["command"], small_outcome.SHA256, "a processor, 2 cores",
                 "0.1.0", "off manifest: 0.05", "never by this data", "the defaults",
                 "one gallery of all references"):  # fmt: skip
        assert said in text


def test_blocks_stand_in_the_order_of_the_outcome(seen):
    titles = [block.title for block in small_outcome.outcome().blocks]
    assert [e["text"] for e in seen.all("h3") if e["text"] in titles] == titles


def test_every_table_is_whole(seen):
    outcome = small_outcome.outcome()
    texts = [" ".join(e["text"].split()) for e in seen.all("table")]
    for table in (block for block in outcome.blocks if isinstance(block, Table)):
        (text,) = [t for t in texts if t.startswith(table.columns[0]) and table.columns[1] in t]
        assert text.count("[") == sum(isinstance(cell, dict) for row in table.rows for cell in row)
        for row in table.rows:
            assert str(row[0]) in text


def test_every_plot_has_a_label_and_its_numbers(seen):
    drawn = seen.all("svg")
    assert len(drawn) == 6
    assert all(e["role"] == "img" and len(e["aria-label"]) > 20 for e in drawn)
    # the plots' numbers, the protocols and the JSON
    assert len(seen.all("details")) == len(drawn) + 2


def test_every_picture_is_inside_with_a_text_for_who_cannot_see_it(seen):
    pictures = [p for exhibit in small_outcome.exhibits() for p in exhibit.pictures]
    images = seen.all("img")
    sent = [base64.b64decode(e["src"].split(",", 1)[1]) for e in images]
    assert sent == [jpeg for _, jpeg in pictures]
    assert all(
        e["alt"].startswith(caption) for e, (caption, _) in zip(images, pictures, strict=True)
    )


def test_controls_wait_for_the_script_and_nothing_else_does(seen):
    hidden = [e for e in seen.elements if "hidden" in e]
    assert hidden
    assert {e.get("class") for e in hidden} == {"controls"}
    assert not seen.all("button")  # the script makes them


def test_the_json_is_the_one_it_was_made_from(seen):
    tree = json.loads(seen.all("pre")[0]["text"])
    assert tree["figures"] == json.loads(json.dumps(small_outcome.figures()))
    assert tree["provenance"] == small_outcome.PROVENANCE
    assert tree["broken"] == small_outcome.broken().to_json()
    assert (tree["samples"], tree["stage"]) == (1000, "identification")


def test_what_was_left_out_is_listed(seen):
    text = next(e["text"] for e in seen.all("section") if e["id"] == "broken")
    assert "2 of 1,000 samples" in text
    assert "Picks/0401/container.json" in text
    assert "ends before its picture does" in text


def test_nothing_left_out_is_said_too():
    text = next(e["text"] for e in Page(render(broken=BrokenFiles())).all("section")
                if e["id"] == "broken")  # fmt: skip
    assert "Every file of the 1,000 samples" in text


def test_whatever_comes_from_outside_is_text():
    broken = BrokenFiles()
    broken.add(EVIL, EVIL)
    provenance = {"command": EVIL, "data": {"folder": EVIL, "synthetic": {EVIL: EVIL}}, EVIL: EVIL}
    seen = Page(render(evil_outcome(), provenance, broken, EVIL))
    assert len(seen.all("script")) == 1
    assert len(seen.all("img")) == 1
    assert seen.all("img")[0]["src"].startswith("data:")
    assert seen.all("img")[0]["alt"] == f"{EVIL}, {EVIL}"
    assert seen.all("h1")[0]["text"] == EVIL  # and {{ 7*7 }} is not 49
    assert seen.all("article")[0]["data-group"] == EVIL
    assert not [key for e in seen.elements for key in e if key.startswith("on")]


@pytest.mark.parametrize("provenance", [{}, {"data": None}, {"networks": {}, "data": {}}])
def test_an_outcome_with_nothing_in_it_makes_a_page(provenance):
    seen = Page(render(Outcome({}), provenance, BrokenFiles()))
    assert seen.all("h1")
    assert "No figure stands at the top" in seen.all("main")[0]["text"]


def test_simulated_data_is_said_at_the_top_and_beside_the_published_rows(seen):
    assert "simulated data" in seen.all("p")[0]["text"]
    text = next(e["text"] for e in seen.all("section") if e["id"] == "published")
    assert "simulated data: other data, not comparable" in text
    real = {**small_outcome.PROVENANCE, "data": {"folder": "armbench", "split": "test"}}
    assert "simulated data" not in Page(render(provenance=real)).all("p")[0]["text"]


# Markdown, read by a parser of its own


def markdown_html(text):
    parser = pytest.importorskip("markdown_it", reason="markdown-it-py is not installed")
    return Page(parser.MarkdownIt("commonmark", {"html": True}).enable("table").render(text))


def render_text(outcome, provenance=small_outcome.PROVENANCE, broken=None, title="title"):
    return render_markdown(title, "identification", outcome, provenance, broken or BrokenFiles())


def test_markdown_has_the_same_tables():
    outcome = small_outcome.outcome()
    seen = markdown_html(render_text(outcome, broken=small_outcome.broken()))
    heads = [e["text"] for e in seen.all("h1", "h2", "h3")]
    assert [h for h in heads if h in {b.title for b in outcome.blocks}] == [
        block.title for block in outcome.blocks
    ]
    texts = [e["text"] for e in seen.all("table")]
    for table in (block for block in outcome.blocks if isinstance(block, Table)):
        (text,) = [t for t in texts if all(name in t for name in table.columns)]
        assert text.count("(n ") == sum(
            isinstance(cell, dict) for row in table.rows for cell in row
        )
    assert any("0.807 [0.782, 0.828] (n 923)" in text for text in texts)
    assert any("Picks/0017/PickRGB.jpg" in text for text in texts)
    assert not seen.all("img", "svg", "a")


def test_markdown_shows_what_comes_from_outside_as_text():
    evil = EVIL + " | pipe *bold* _bold_ `code` [link](x) \\ a_b\n# head"
    outcome = dataclasses.replace(
        evil_outcome(), blocks=(Table(evil, (evil, "b"), ((evil, 1),), evil),)
    )
    broken = BrokenFiles()
    broken.add(evil, "why")
    seen = markdown_html(render_text(outcome, {"command": evil}, broken, evil))
    wanted = " ".join(evil.split())
    assert seen.all("h1")[0]["text"] == wanted
    assert len(seen.all("h1")) == 1
    assert sum(e["text"] == wanted for e in seen.all("th", "td")) == 3
    assert {e["tag"] for e in seen.elements} <= set(
        "h1 h2 h3 p ul li table thead tbody tr th td".split()
    )


@pytest.mark.parametrize(
    "text",
    [
        "a_b",
        "_a_",
        "a|b",
        "`a`",
        "<b>&amp;",
        "[x](y)",
        "\\|",
        "~~a~~",
        "# a",
        "- a",
        "---",
        "1. a",
        "2) a",
        "===",
        "-0.250",
        "+",
    ],
)
def test_a_text_comes_through_markdown_as_it_is(text):
    assert markdown_html(plain(text)).all("p")[0]["text"].strip() == text


def test_a_row_for_the_docs_fits_its_head():
    row = markdown_row("identification", small_outcome.outcome(), small_outcome.PROVENANCE)
    head = "| " + " | ".join(page.ROW_COLUMNS) + " |\n" + "|---" * len(page.ROW_COLUMNS) + "|\n"
    cells = [e["text"] for e in markdown_html(head + row + "\n").all("td")]
    assert cells == [
        "identification",
        "sample, test (simulated)",
        "recall@1 (N=1) 0.807 [0.782, 0.828] (n 923); recall@1 (N=3) 0.873 [0.852, 0.890] (n 923)",
        "identification.onnx d18f52a3d0b7",
        "0.1.0",
    ]

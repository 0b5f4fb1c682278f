# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The page stands alone, escapes what comes from outside, and marks right and wrong."""

import base64
from html.parser import HTMLParser

import numpy as np

from robollm_core.evaluation.cell import FrameTruth, TruthInstance
from robollm_core.evaluation.report import picture, render
from robollm_core.types import (
    DefectReport,
    Identification,
    Instance,
    ItemReport,
    PerceptionResult,
)

HW = (10, 40)
NOMINAL = DefectReport((0.0, 0.9, 0.1), "nominal", 0.1)


def thing(x0, item, defect="nominal"):
    mask = np.zeros(HW, bool)
    mask[:, x0 : x0 + 10] = True
    return TruthInstance(item, defect, mask)


def answer(x0, item, defect=NOMINAL):
    box = (x0, 0, x0 + 10, 10)
    identification = Identification((("a", 0.875),), item)
    return ItemReport(Instance(box, np.ones((10, 10), bool), 0.9), identification, defect)


def make_picture(title="frame 0"):
    result = PerceptionResult(
        0, "", HW, (answer(0, "a"), answer(10, "a"), answer(30, ""), answer(20, ""))
    )
    things = (thing(0, "a"), thing(10, "b", "multi_pick"), thing(20, "off"))
    return picture(title, b"\xff\xd8jpeg", result, FrameTruth(0, "", things, frozenset("ab")))


def test_lines_stand_in_the_order_of_the_truth_then_what_is_left_over():
    lines = make_picture().lines
    assert [line.truth for line in lines] == ["a", "b, multi_pick", "off", ""]
    assert [line.answer for line in lines] == ["a", "a", "none of these", "none of these"]
    # "none of these" is right for an item that is not on the manifest
    assert [line.mark for line in lines] == ["right", "wrong", "right", "none"]
    assert lines[0].similarity == "0.88"
    assert lines[0].verdict == "nominal (0.90 nominal)"


def test_what_was_not_found_is_wrong():
    result = PerceptionResult(0, "", HW, ())
    (line,) = picture("t", b"", result, FrameTruth(0, "", (thing(0, "a"),), frozenset("a"))).lines
    assert (line.answer, line.mark) == ("not found", "wrong")


def test_without_truth_answers_are_listed():
    result = PerceptionResult(0, "", HW, (answer(0, "a"),))
    (line,) = picture("t", b"", result, None).lines
    assert (line.truth, line.answer, line.mark) == ("", "a", "none")


class Links(HTMLParser):
    def __init__(self):
        super().__init__()
        self.sources, self.stack, self.texts = [], [], []

    def handle_starttag(self, tag, attrs):
        self.sources += [value for name, value in attrs if name in ("src", "href")]
        self.stack.append(tag)

    def handle_data(self, data):
        self.texts.append(data.strip())


def test_the_page_is_self_contained_and_escaped():
    evil = "<script>alert(1)</script>"
    page = render(evil, "lead", rows={"frames_sent": 3, evil: evil},
                  pictures=[make_picture(evil)], footer=[evil])  # fmt: skip
    links = Links()
    links.feed(page)
    assert "script" not in links.stack
    assert evil in links.texts  # shown as text
    (source,) = links.sources
    assert source.startswith("data:image/jpeg;base64,")
    assert base64.b64decode(source.split(",", 1)[1]) == b"\xff\xd8jpeg"
    assert "frames_sent" in links.texts

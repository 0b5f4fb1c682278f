# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""`--help` of programs that take parameters alone."""

import pytest

pytest.importorskip("rclpy", reason="no ROS 2: neither the wheels nor a sourced installation")

from robollm_core.config import Leaf
from robollm_ros.usage import answered, usage

LEAVES = (
    Leaf("rate_hz", 2.0, "Frames a second.", 0.5, 30.0, (), False),
    Leaf("kind", "a", "Which.", None, None, ("a", "b"), False),
    Leaf("on", True, "Whether. " + "Long. " * 40, None, None, (), False),
    Leaf("folder", "", "Where.", None, None, (), False),
)


def test_the_page_says_what_is_done_and_lists_each_parameter():
    page = usage("prog", "Does things.\n", LEAVES)
    lines = page.splitlines()
    assert lines[0].startswith("usage: prog [--help]")
    assert "Does things." in lines
    at = lines.index("  rate_hz (default 2.0)")
    assert lines[at + 1].strip() == "Frames a second. 0.5 to 30.0."
    assert "Which. One of a, b." in page
    assert "  on (default true)" in lines and '  folder (default "")' in lines
    assert max(map(len, lines)) <= 100


@pytest.mark.parametrize("word", ["-h", "--help"])
def test_help_is_answered_with_and_without_parameters(capsys, word):
    words = ["prog", word, "--ros-args", "-p", "rate_hz:=3.0"]
    assert answered("prog", "Does things.", LEAVES, words) == 0
    assert capsys.readouterr().out.startswith("usage: prog")


def test_stray_words_are_refused_in_one_line(capsys):
    assert (
        answered("prog", "", LEAVES, ["prog", "rate_hz:=3.0", "--ros-args", "-p", "on:=true"]) == 2
    )
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("robollm: ") and said.err.count("\n") == 1
    assert "rate_hz:=3.0" in said.err and "on:=true" not in said.err


def test_a_program_that_is_called_right_runs():
    assert answered("prog", "", LEAVES, ["prog"]) is None
    assert answered("prog", "", LEAVES, ["prog", "--ros-args", "-p", "on:=true"]) is None

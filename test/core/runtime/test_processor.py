# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""What a processor says of itself, and what is said where it does not."""

import platform
from pathlib import Path

import pytest

from robollm_core.runtime import processor


def say(monkeypatch, text):
    monkeypatch.setattr(Path, "read_text", lambda path, encoding: text)


def test_a_pc_tells_each_core(monkeypatch):
    say(monkeypatch, "model name\t: A: B\ncpu MHz\t: 1.5\nflags\t: fpu amx\n\ncpu MHz\t: 2.5\n")
    assert processor.told()["cpu MHz"] == ["1.5", "2.5"]
    assert processor.model() == "A: B" and processor.instructions() == "fpu amx"


def test_an_arm_board_tells_features_and_no_name(monkeypatch):
    say(monkeypatch, "Features\t: fp asimd\n")
    assert processor.instructions() == "fp asimd"
    assert processor.model() == (platform.processor() or platform.machine())


@pytest.mark.parametrize("ask", [processor.told, processor.instructions])
def test_another_system_tells_nothing(monkeypatch, ask):
    def missing(path, encoding):
        raise FileNotFoundError(path)

    monkeypatch.setattr(Path, "read_text", missing)
    assert not ask()

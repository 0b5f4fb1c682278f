# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Whoever listens is told what a start does now, and nobody is told after that."""

import pytest

from robollm_core.config import Config
from robollm_core.runtime import factory
from robollm_core.runtime.progress import listening, note, tell


def test_listeners_hear_while_they_listen() -> None:
    first: list[str] = []
    second: list[str] = []
    note("nobody listens")
    with listening(first.append):
        note("one")
        with listening(second.append):
            note("two")
        note("three")
    note("nobody listens any more")
    assert first == ["one", "two", "three"]
    assert second == ["two"]


def test_a_listener_leaves_also_after_an_error() -> None:
    heard: list[str] = []
    with pytest.raises(ValueError, match="broken"), listening(heard.append):
        raise ValueError("broken")
    note("later")
    assert heard == []


def test_what_is_told_stands_on_stderr_too(capsys: pytest.CaptureFixture[str]) -> None:
    heard: list[str] = []
    with listening(heard.append):
        tell("builds, 35 s")
        note("quiet")
    assert capsys.readouterr().err == "robollm: builds, 35 s\n"
    assert heard == ["builds, 35 s", "quiet"]


def test_each_network_that_is_loaded_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(factory, "_load", lambda file, sidecar, config: "engine")
    heard: list[str] = []
    config = Config()
    with listening(heard.append):
        assert factory.load_engine(
            config.defects.artifact, factory.replace(config.runtime, name="onnx")
        )
    assert heard == ["loading defects.onnx on onnx"]

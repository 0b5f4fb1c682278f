# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""A recording in parts loses nothing at its seams, and each part stands alone."""

import os
import signal
import subprocess
import sys

import pytest

from robollm_core.data import rostypes
from robollm_core.data.bag import read_topics
from robollm_core.data.bagwriter import Topic
from robollm_core.data.parts import PartsWriter
from robollm_core.data.salvage import salvage

TEXT, INFO = Topic("/text", rostypes.STRING), Topic("/info", rostypes.STRING, latched=True)
KINDS = {TEXT.name: rostypes.STRING, INFO.name: rostypes.STRING}


def say(text):
    message = rostypes.make(rostypes.STRING, data=text)
    return bytes(rostypes.typestore().serialize_cdr(message, rostypes.STRING))


def read(path):
    return [(topic, log, message.data) for topic, log, message in read_topics(path, KINDS)]


def test_without_a_limit_it_is_one_file_of_its_own_name(tmp_path):
    with PartsWriter(tmp_path / "a.mcap", [TEXT]) as bag:
        for index in range(5):
            bag.write(TEXT.name, index, say("x"))
    assert bag.files == [tmp_path / "a.mcap"]
    assert len(read(tmp_path / "a.mcap")) == 5
    assert [path.name for path in tmp_path.iterdir()] == ["a.mcap"]


def test_parts_by_size_hold_everything_once_and_begin_with_what_is_latched(tmp_path):
    with PartsWriter(tmp_path / "a.mcap", [INFO, TEXT], max_bytes=300) as bag:
        bag.write(INFO.name, 0, say("old"))
        bag.write(INFO.name, 0, say("new"))
        for index in range(1, 30):
            bag.write(TEXT.name, index, say(f"{index:020}"))
    assert [path.name for path in bag.files] == [f"a_{i}.mcap" for i in range(len(bag.files))]
    assert len(bag.files) > 2
    texts = []
    for number, path in enumerate(bag.files):
        got = read(path)
        texts += [int(text) for topic, _, text in got if topic == TEXT.name]
        if number:
            assert got[0][0] == INFO.name
            assert [text for topic, _, text in got if topic == INFO.name] == ["new"]
    assert texts == list(range(1, 30))


def test_parts_by_time(tmp_path):
    now = [0.0]
    with PartsWriter(tmp_path / "a.mcap", [TEXT], max_s=10.0, clock=lambda: now[0]) as bag:
        for index in range(30):
            now[0] = float(index)
            bag.write(TEXT.name, index, say("x"))
    assert [len(read(path)) for path in bag.files] == [10, 10, 10]


def test_an_error_leaves_the_parts_that_are_whole(tmp_path):
    with (
        pytest.raises(RuntimeError, match="mine"),
        PartsWriter(tmp_path / "a.mcap", [TEXT], max_bytes=20) as bag,
    ):
        for index in range(5):
            bag.write(TEXT.name, index, say("12345678"))
            if index == 4:
                raise RuntimeError("mine")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(p.name for p in bag.files)
    assert len(bag.files) >= 1


KILLED = """
import sys, time
from robollm_core.data import rostypes
from robollm_core.data.bagwriter import Topic
from robollm_core.data.parts import PartsWriter
text = rostypes.make(rostypes.STRING, data="x" * 50)
data = bytes(rostypes.typestore().serialize_cdr(text, rostypes.STRING))
now = [0.0]
with PartsWriter({path!r}, [Topic("/text", rostypes.STRING)], clock=lambda: now[0]) as bag:
    for index in range(25):
        now[0] = index / 10
        bag.write("/text", index, data)
    print("written", flush=True)
    time.sleep(60)
"""


def test_after_a_kill_all_but_the_last_second_can_be_saved(tmp_path):
    code = KILLED.format(path=str(tmp_path / "a.mcap"))
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout.readline() == "written\n"
        os.kill(child.pid, signal.SIGKILL)
    assert not (tmp_path / "a.mcap").exists()
    (part,) = tmp_path.glob("a.mcap.*.part")
    saved = salvage(part, tmp_path / "saved.mcap")
    # handed over at 1 s and at 2 s: the messages of up to 2 s
    assert saved.messages == 21

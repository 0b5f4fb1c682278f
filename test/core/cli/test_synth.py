# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from robollm_core.cli import synth
from robollm_core.synthetic import containers


@pytest.fixture
def command(monkeypatch):
    def call(*words):
        monkeypatch.setattr("sys.argv", ["synth", *words])
        return synth.main()

    return call


def test_segmentation_is_written_and_its_speed_printed(command, tmp_path, capsys):
    words = ("--images", "1", "--split", "val", "--subset", "mix-object-tote", "--jobs", "1")
    assert command("segmentation", "--out", str(tmp_path / "a"), "--seed", "2", *words) == 0
    assert "images/s/core" in capsys.readouterr().out
    assert (tmp_path / "a" / "mix-object-tote" / "val.json").is_file()


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("--images", "0"), "--images"),
        (("--jobs", "0"), "--jobs"),
        (("--seed", "-4"), "--seed"),
        (("--split", "dev"), "--split"),
        (("--subset", "dev"), "--subset"),
        (("--meshes", "/nonexistent"), "--meshes"),
    ],
)
def test_bad_arguments_are_one_line_and_exit_2(command, tmp_path, capsys, words, named):
    out = tmp_path / "a"
    assert command("segmentation", "--out", str(out), "--images", "3", "--jobs", "1", *words) == 2
    error = capsys.readouterr().err
    assert named in error and error.count("robollm:") == 1
    assert not list(out.rglob("*.json"))


# what an option of each name may look like
WORDS = {
    "images": ("--images", "3"),
    "picks": ("--picks", "3"),
    "split": ("--split", "all"),
    "subset": ("--subset", "all"),
    "jobs": ("--jobs", "1"),
    "meshes": ("--meshes", "scans"),
    "raw": ("--raw",),
    "states": ("--states", "3"),
}
TAKEN = {
    "segmentation": {"images", "split", "subset", "jobs", "meshes"},
    "identification": {"picks", "split", "jobs", "meshes"},
    "defects": {"images", "split", "jobs", "meshes"},
    "bag": {"images", "raw"},
    "cell": {"states"},
}


@pytest.fixture
def made(monkeypatch):
    """What the kinds were asked to make, instead of making it."""
    asked = []
    for kind in TAKEN:
        monkeypatch.setattr(synth, f"_{kind}", lambda args: asked.append(args) or 0)
    return asked


@pytest.mark.parametrize("kind", TAKEN)
@pytest.mark.parametrize("name", WORDS)
def test_a_kind_refuses_the_options_of_others(command, tmp_path, capsys, made, kind, name):
    code = command(kind, "--out", str(tmp_path / "a"), *WORDS[name])
    error = capsys.readouterr().err
    if name in TAKEN[kind]:
        assert (code, error, len(made)) == (0, "", 1)
        return
    assert (code, made) == (2, [])
    assert error.startswith(f"robollm: --{name} is an option of `robollm synth ")
    told = error.split("`robollm synth ")[1].split("`")[0].split("|")
    assert set(told) == {each for each, names in TAKEN.items() if name in names}
    assert error.count("robollm:") == 1
    assert f"not of {kind}" in error


@pytest.mark.parametrize("kind", TAKEN)
def test_what_is_not_given_is_filled_in(command, tmp_path, made, kind):
    assert command(kind, "--out", str(tmp_path / "a")) == 0
    usual = {
        "images": 40 if kind == "bag" else 1000,
        "picks": 1000,
        "split": "all",
        "subset": "all",
        "jobs": os.cpu_count() or 1,
        "raw": False,
        "states": 24,
    }
    wanted = {name: usual.get(name) if name in TAKEN[kind] else None for name in WORDS}
    assert {name: getattr(made[0], name) for name in WORDS} == wanted
    assert made[0].seed == 0


def test_a_bag_holds_raw_images_when_asked(command, tmp_path, monkeypatch):
    monkeypatch.setattr(containers, "_STOCK", 8)
    assert command("bag", "--out", str(tmp_path / "b"), "--images", "1", "--raw") == 0
    assert "--raw" in json.loads((tmp_path / "b" / "cell.json").read_text())["command"]
    assert b"sensor_msgs/msg/Image" in (tmp_path / "b" / "cell.mcap").read_bytes()


def test_an_unknown_kind_is_refused(command, tmp_path):
    with pytest.raises(SystemExit):
        command("pallets", "--out", str(tmp_path))


def alive(process):
    return Path(f"/proc/{process}").exists()


@pytest.mark.slow
def test_sigterm_ends_the_workers_and_leaves_nothing(tmp_path):
    words = ("identification", "--out", str(tmp_path / "a"), "--split", "val", "--jobs", "2")
    main = [sys.executable, "-m", "robollm_core.cli.main", "synth"]
    process = subprocess.Popen([*main, *words], stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 120
        while not list(tmp_path.rglob("*.jpg")) and time.monotonic() < deadline:
            time.sleep(0.1)  # until the workers work
        assert list(tmp_path.rglob("*.jpg")), "the workers wrote nothing in two minutes"
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 143
    finally:
        process.kill()
        process.wait()
    assert len(children) >= 2
    deadline = time.monotonic() + 10  # Python's own resource tracker ends a moment later
    while any(map(alive, children)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not [child for child in children if alive(child)]
    assert list(tmp_path.iterdir()) == []

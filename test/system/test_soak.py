# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""A short soak and a short bench over real ROS, around networks written by hand."""

import json
import os
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="no ROS 2: neither the wheels nor a sourced installation")
pytest.importorskip("vision_msgs", reason="vision_msgs is not installed")
pytest.importorskip("rosbags", reason="rosbags is not installed")

from small_sim import write_cell_states

from robollm_core.cli import main

pytestmark = [pytest.mark.ros, pytest.mark.slow]


def test_a_soak_with_faults_accounts_for_every_frame_and_pick(cell, tmp_path, capsys):
    _, settings = cell
    write_cell_states(tmp_path / "cell")
    settings = {k: v for k, v in settings.items() if k != "identification.reference_root"}
    sets = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
    code = main.main([
        "soak", "--minutes", "0.75", "--faults", "random=60", "--states", "0", "--seed", "3",
        "--cell", str(tmp_path / "cell"), "--out", str(tmp_path / "out"), *sets,
        "--json", str(tmp_path / "soak.json"),
    ])  # fmt: skip
    figures = json.loads((tmp_path / "soak.json").read_text())
    kept = {claim["name"]: claim["kept"] for claim in figures["claims"]}
    # memory has not settled after so short a time; all else must hold
    grown = kept.pop("share by which resident memory grew")
    assert all(kept.values()), figures["claims"]
    assert code == (0 if grown else 1)
    assert figures["frames"]["tote_top"]["sent"] > 300
    assert figures["picks"]["asked"] > 30
    assert figures["faults"]
    said = capsys.readouterr().out
    assert "pick events without exactly one answer: 0" in said
    page = (tmp_path / "out" / "soak.md").read_text()
    assert "| tote_top |" in page
    assert (tmp_path / "out" / "soak.json").exists()


@pytest.mark.parametrize("transport", ["raw", "compressed"])
def test_the_bench_of_ros_times_every_frame(tmp_path, capsys, transport):
    main.main([
        "bench", "ros", "--size", "64x48", "128x96", "--rate", "20", "--seconds", "2",
        "--transport", transport, "--stage-ms", "1", "--picks", "4", "--no-search",
        *(["--no-subscriptions"] if transport == "compressed" else []),
        "--json", str(tmp_path / "ros.json"),
    ])  # fmt: skip
    figures = json.loads((tmp_path / "ros.json").read_text())
    assert [row["size"] for row in figures["rows"]] == ["64x48", "128x96"]
    for row in figures["rows"]:
        assert row["sent"] == 40
        assert row["uncounted"] == 0
        assert row["answered"] >= 36
        assert 0 < row["tax_ms"]["p50"] < 100
        assert row["latency_ms"]["p50"] == pytest.approx(
            row["tax_ms"]["p50"] + row["core_ms"], abs=0.01
        )
        assert row["rss_kib"] > 10_000
        assert row["picks"]["answered"] == row["picks"]["asked"] >= 4
    for one in figures["subscriptions"]:
        assert one["serialised_ms"]["p50"] > 0
        assert one["ordinary_ms"]["p50"] > 0
    assert "128x96" in capsys.readouterr().out


def test_frames_that_a_slow_stage_drops_are_counted_where_they_end(tmp_path):
    main.main([
        "bench", "ros", "--size", "64x48", "--rate", "50", "--seconds", "2", "--stage-ms", "60",
        "--no-search", "--no-subscriptions", "--json", str(tmp_path / "ros.json"),
    ])  # fmt: skip
    (row,) = json.loads((tmp_path / "ros.json").read_text())["rows"]
    assert row["sent"] == 100
    # sixteen frames a second are all that a stage of 60 ms can do
    assert 20 <= row["answered"] <= 36
    assert row["lost"]["dropped_mailbox"] > 50
    assert row["uncounted"] == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["bench", "ros", "--size", "12by9"], "--size must be WIDTHxHEIGHT"),
        (["bench", "ros", "--rate", "0"], "--rate must be 0.1"),
        (["bench", "ros", "--seconds", "0.1"], "--seconds must be 0.5"),
        (["soak", "--minutes", "0.1"], "20 seconds at least"),
        (["soak", "--rate", "0"], "--rate above 0"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_anything_starts(words, said, capsys):
    assert main.main(words) == 2
    assert said in capsys.readouterr().err


def test_a_node_that_dies_during_a_soak_is_named_with_its_last_words(cell, tmp_path, capsys):
    _, settings = cell
    write_cell_states(tmp_path / "cell")
    out = tmp_path / "out"

    def kill():
        end = time.monotonic() + 60
        while time.monotonic() < end:
            for status in Path("/proc").glob("[0-9]*/cmdline"):
                with suppress(OSError):
                    words = status.read_bytes().split(b"\0")
                    # the parameters of this run name this node and no other
                    if str(out / "parameters.yaml").encode() in words:
                        time.sleep(8.0)
                        os.kill(int(status.parent.name), signal.SIGKILL)
                        return
            time.sleep(0.2)

    killer = threading.Thread(target=kill)
    killer.start()
    sets = [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
    words = ["soak", "--minutes", "1", "--states", "0", "--cell", str(tmp_path / "cell")]
    assert main.main([*words, "--out", str(out), *sets]) == 2
    killer.join()
    said = capsys.readouterr().err
    assert "robollm_ros.perception_node ended with code -9" in said
    assert not (out / "soak.md").exists()

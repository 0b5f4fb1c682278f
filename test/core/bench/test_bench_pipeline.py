# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The bench of a frame: real engines, a set number of instances, parts that add up."""

import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx")
import colour_cell

from robollm_core.bench import pipeline, sample
from robollm_core.bench.cases import SIDES, Case, Cell, Watched, cases, set_rows
from robollm_core.bench.pipeline import OUTSIDE, check, measure, row, targets, walk
from robollm_core.bench.pipeline_report import draw, table
from robollm_core.bench.timing import Plan
from robollm_core.config import Config, update
from robollm_core.errors import BagError, ConfigError, RobollmError
from robollm_core.geometry import Letterbox


@pytest.fixture(scope="module")
def bag(tmp_path_factory):
    return colour_cell.write_bag(tmp_path_factory.mktemp("bag") / "cell.mcap")


@pytest.fixture(scope="module")
def cell(cell_settings, bag):
    own = {**cell_settings, "runtime.threads": 1, "identification.reference_root": str(bag.parent)}
    return Cell(update(Config(), own))


@pytest.fixture
def case(bag):
    (frame, manifest), *_ = sample.recorded(bag, 1)
    return Case(frame.image_rgb, manifest, 2)


def test_a_frame_has_exactly_the_instances_that_were_set(cell, case):
    for count in (1, 3):
        one = Case(case.image_rgb, case.manifest, count)
        cell.engines[0].rows = set_rows(one, cell)
        result, _ = walk(cell, one, None)
        assert len(result.items) == count


def test_set_boxes_are_of_realistic_size_inside_the_frame(cell, case):
    large = Case(np.zeros((480, 640, 3), np.uint8), case.manifest, 3)
    boxes = set_rows(large, cell)["boxes"][0]
    boxes = Letterbox((480, 640), cell.input_hw).to_source(boxes)
    sides = (boxes[:, 2:] - boxes[:, :2]) / (640, 480)
    assert (sides > SIDES[0] - 1e-3).all() and (sides < SIDES[1] + 1e-3).all()
    assert boxes.min() >= 0 and (boxes <= (640.01, 480.01, 640.01, 480.01)).all()


@pytest.mark.parametrize("count", [-1, 4, 70])
def test_more_instances_than_the_network_has_are_refused(cell, case, count):
    with pytest.raises(ConfigError, match="1 to 3"):
        set_rows(Case(case.image_rgb, case.manifest, count), cell)


def test_the_real_engine_runs_behind_a_set_answer(cell):
    class Slow:
        spec, description = None, "slow"
        runs = 0

        def run(self, inputs):
            self.runs += 1
            time.sleep(0.02)
            return {"boxes": 1, "extra": 2}

    engine = Slow()
    watched = Watched(engine)
    watched.rows = {"boxes": 7}
    assert watched.run({}) == {"boxes": 7, "extra": 2}
    watched.run({})
    assert engine.runs == 2 and watched.wall >= 0.04 and watched.cpu < watched.wall
    watched.reset()
    assert watched.wall == watched.cpu == 0.0


def test_the_parts_are_all_of_the_time(cell, case):
    cell.engines[0].rows = set_rows(case, cell)
    start = time.perf_counter()
    _, laps = walk(cell, case, lambda result: time.sleep(0.03))
    total = time.perf_counter() - start
    assert set(laps.wall) == {*OUTSIDE, *pipeline.ENGINES}
    assert laps.wall["messages"] >= 0.03
    assert sum(laps.wall.values()) == pytest.approx(total, abs=0.01)


def test_parts_that_answer_otherwise_than_perceive_are_told(cell, case, monkeypatch):
    cell.engines[0].rows = set_rows(case, cell)
    check(cell, case)
    monkeypatch.setattr(pipeline, "from_ros_image", lambda *a: case.image_rgb[::-1].copy())
    with pytest.raises(RobollmError, match="otherwise than perceive"):
        check(cell, case)


def laps_of(**parts):
    laps = pipeline.Laps()
    laps.wall = {name: secs / 1e3 for name, secs in parts.items()}
    laps.cpu = dict.fromkeys(laps.wall, 0.001)
    return laps


def test_a_row_sums_medians_and_shares():
    engines = {"segment": 40.0, "identify": 10.0, "inspect": 10.0}
    laps = [laps_of(decode=ms, paste=2 * ms, **engines) for ms in (4.0, 5.0, 60.0)]
    found = row("640x480", 10, laps, [0.001, 0.002, 0.009])
    assert found["outside_ms"] == 15.0 and found["engines_ms"] == 60.0
    assert found["total_ms"] == 75.0 and found["outside_share"] == 0.2
    assert found["paste_ms"] == 10.0 and found["paste_ms_min"] == 8.0
    assert found["outside_share_min"] == pytest.approx(12 / 72, abs=1e-4)
    assert found["jpeg_ms"] == 2.0 and found["outside_cpu_ms"] == 2.0
    assert "messages_ms" not in found  # absent, not 0


def test_targets_apply_to_their_cases_alone():
    base = {"outside_share": 0.1, "outside_ms": 11.0, "paste_ms": 5.0}
    rows = [
        {"size": "640x480", "instances": 0, **base},
        {"size": "640x480", "instances": 50, **base, "outside_share": 0.9},
        {"size": "2448x2048", "instances": 50, **base},
    ]
    assert [target["kept"] for target in targets(rows)] == [True, True, False]
    assert targets(rows[1:2]) == []


def test_cases_are_measured_in_turns_and_drawn(cell, bag):
    found = measure(cell, cases(bag, ["64x48"], [1, 3]), Plan(rounds=2))
    keys = [(one["size"], one["instances"]) for one in found["rows"]]
    assert keys == [("128x96", 0), ("64x48", 1), ("64x48", 3)]
    for one in found["rows"]:
        parts = [one[f"{name}_ms"] for name in ("letterbox", "paste", "crop", "score", "decode")]
        assert all(ms > 0 for ms in parts) and 0 < one["outside_share"] < 1
    text = table(found["rows"])
    assert len(text.splitlines()) == 4 and ("absent" in text) == (not found["messages"])
    assert draw(found["rows"]).startswith(b"\x89PNG")


@pytest.mark.parametrize("size", ["640", "x480", "640x", "16x480", "axb", "-64x48"])
def test_sizes_that_are_none_are_refused(bag, size):
    with pytest.raises(ConfigError, match="WIDTHxHEIGHT"):
        cases(bag, [size], [1])


def test_a_recording_without_a_manifest_is_refused(tmp_path):
    bag = colour_cell.write_bag(tmp_path / "bare.mcap", manifest=False)
    with pytest.raises(BagError, match="after a manifest"):
        sample.recorded(Path(bag), 3)

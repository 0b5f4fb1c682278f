# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
import json
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("onnx", reason="the hand-drawn cell needs onnx")

from small_sim import ORDER, write_cell_states

from robollm_core.errors import ConfigError, DatasetError, OutputError
from robollm_core.images import decode_image
from robollm_core.manifests import parse_manifest
from robollm_core.synthetic import containers, staging
from robollm_core.synthetic.cell import live_cell, write_states
from robollm_core.synthetic.states import (
    FOLDER,
    HELD_CAMERAS,
    INDEX,
    picture_name,
    read_states,
    rendered,
)


@pytest.fixture
def folder(tmp_path):
    write_cell_states(tmp_path, seed=7)
    return tmp_path


def test_what_was_written_is_read_back(folder):
    recording = read_states(folder)
    assert recording.seed == 7
    assert [state.pick["item_ids"] for state in recording.states] == [[item] for item in ORDER]
    assert [len(state.instances) for state in recording.states] == [3, 2, 1]
    for state in recording.states:
        assert tuple(state.held) == HELD_CAMERAS
        parse_manifest(json.dumps(state.manifest), "the cell")
        for jpeg in (state.tote, *state.held.values()):
            assert decode_image(jpeg, "a picture").shape == (96, 128, 3)
    assert rendered(folder) == (7, 3)


def test_an_empty_folder_holds_no_cell_and_says_how_to_make_one(tmp_path):
    assert rendered(tmp_path) is None
    with pytest.raises(DatasetError, match="robollm synth cell"):
        read_states(tmp_path)


def test_a_missing_picture_is_named(folder):
    (folder / picture_name(1, "far_tray")).unlink()
    with pytest.raises(DatasetError, match=r"0001\.far_tray\.jpg"):
        read_states(folder)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"format": 2, "seed": 0, "states": []}',
        '{"format": 1, "seed": "x", "states": []}',
        '{"format": 1, "seed": 0, "states": []}',
        '{"format": 1, "seed": 0, "states": [3]}',
        '{"format": 1, "seed": 0, "states": [{"manifest": {}, "instances": []}]}',
        '{"format": 1, "seed": 0, "states": [{"manifest": {}, "instances": [], "pick": {}}]}',
        '{"format": 1, "seed": 0, "states": [{"manifest": {}, "instances": [], "pick": 4}]}',
        "[" * 100_000,
    ],
)
def test_an_index_of_another_form_is_refused(folder, text):
    (folder / FOLDER / INDEX).write_text(text)
    with pytest.raises(DatasetError, match="make it again"):
        read_states(folder)


def test_reading_a_cell_needs_no_simulator():
    code = (
        "import sys, robollm_core.synthetic.states;"
        "sys.exit(bool({'mujoco', 'torch', 'cv2'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.fixture(scope="module")
def cell(tmp_path_factory):
    """A rendered cell, and the folder it lies in."""
    out = tmp_path_factory.mktemp("rendered") / "cell"
    told = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(containers, "_STOCK", 8)
        write_states(out, 4, 9, told.append)
    assert told == list(range(1, 10))
    return read_states(out), out


@pytest.mark.slow
def test_a_rendered_cell_is_whole_and_nothing_half_written_lies_beside_it(cell):
    recording, out = cell
    assert (recording.seed, len(recording.states)) == (4, 9)
    assert sorted(path.name for path in out.iterdir()) == ["references", "states"]
    for state in recording.states:
        for item in parse_manifest(json.dumps(state.manifest), "the cell").items:
            assert all((out / path).is_file() for path in item.reference_images)
        assert decode_image(state.tote, "the tote").shape == (480, 640, 3)
        for name, jpeg in state.held.items():
            assert decode_image(jpeg, "a view").shape == (480, 640, 3)
            box = state.pick["regions"].get(name)
            if box:
                assert 0 <= box["x"] < box["x"] + box["w"] <= 640
                assert 0 <= box["y"] < box["y"] + box["h"] <= 480
    seen = [len(state.pick["regions"]) for state in recording.states]
    assert np.mean(seen) > 2.5


@pytest.mark.slow
def test_what_was_picked_is_missing_from_the_next_state_and_ticked_off(cell):
    followed = 0
    for state, after in zip(cell[0].states, cell[0].states[1:], strict=False):
        assert state.pick["defect"] in ("nominal", "package_defect", "multi_pick")
        assert (len(state.pick["item_ids"]) == 2) == (state.pick["defect"] == "multi_pick")
        if state.manifest["container_id"] != after.manifest["container_id"]:
            continue
        followed += 1
        assert after.manifest["version"] == state.manifest["version"] + 1
        assert state.pick["instance"] not in [each["instance"] for each in after.instances]
        moved = [
            one["product_id"]
            for one, other in zip(
                state.manifest["products"], after.manifest["products"], strict=True
            )
            for _ in range(other["picked"] - one["picked"])
        ]
        listed = {each["product_id"] for each in state.manifest["products"]}
        assert sorted(moved) == sorted(set(state.pick["item_ids"]) & listed) or len(moved) == 2
    assert followed >= 3


@pytest.mark.slow
def test_the_pick_cameras_do_not_change_what_the_tote_camera_sees(cell, tmp_path, monkeypatch):
    monkeypatch.setattr(containers, "_STOCK", 8)
    recording, _ = cell
    frames = live_cell(tmp_path, 4)
    for state, frame in zip(recording.states, frames, strict=False):
        assert frame.jpeg == state.tote
        assert frame.held.jpegs == {}
        if state.pick["defect"] == "multi_pick":
            break  # from here on the two cells differ


@pytest.mark.slow
def test_another_cell_takes_the_place_of_the_one_before(tmp_path, monkeypatch):
    monkeypatch.setattr(containers, "_STOCK", 8)
    write_cell_states(tmp_path, seed=7)
    write_states(tmp_path, 5, 2)
    recording = read_states(tmp_path)
    assert (recording.seed, len(recording.states)) == (5, 2)
    assert decode_image(recording.states[0].tote, "the tote").shape == (480, 640, 3)


@pytest.mark.slow
def test_a_cell_that_is_interrupted_while_it_moves_in_is_no_cell(tmp_path, monkeypatch):
    monkeypatch.setattr(containers, "_STOCK", 8)
    write_cell_states(tmp_path, seed=7)

    def fail(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(staging, "_move", fail)
    with pytest.raises(OutputError, match="No space left"):
        write_states(tmp_path, 5, 1)
    assert rendered(tmp_path) is None


def test_a_cell_of_no_states_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="--states"):
        write_states(tmp_path / "cell", 0, 0)
    assert list(tmp_path.iterdir()) == []

# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""`robollm perceive` from the command line to the JSON line."""

import json

import cv2
import numpy as np
import pytest
from colour_cell import BOXES, COLOURS, draw_tote, manifest_text, write_references
from pycocotools import mask as coco
from small_disk import run_on_small_disk

from robollm_core.cli.main import main
from robollm_core.images import encode_jpeg, read_image

KEYS = ["box_xyxy_px", "score", "label", "rle", "candidates", "item_id", "defect"]


@pytest.fixture
def scene(tmp_path, cell_settings):
    """A folder with a tote and a manifest, and the words that choose the networks."""
    folder = tmp_path / "scene"
    (folder / "m.json").parent.mkdir()
    (folder / "m.json").write_text(manifest_text(write_references(folder)))
    cv2.imwrite(str(folder / "tote.png"), draw_tote()[..., ::-1])
    words = [word for k, v in cell_settings.items() for word in ("--set", f"{k}={v}")]
    return folder, words


def lines(text):
    return [json.loads(line) for line in text.splitlines()]


def test_one_line_an_image_with_exactly_the_keys(scene, capsys):
    folder, words = scene
    files = [str(folder / "tote.png")] * 2
    assert main(["perceive", *files, "--manifest", str(folder / "m.json"), *words]) == 0
    first, second = lines(capsys.readouterr().out)
    assert first == second
    assert list(first) == ["file", "instances"]
    assert first["file"] == files[0]
    for item, found in zip(COLOURS, first["instances"], strict=True):
        assert list(found) == KEYS
        assert tuple(found["box_xyxy_px"]) == BOXES[item]
        assert found["label"] == "object"
        assert found["item_id"] == item == found["candidates"][0][0]
        assert {name for name, _ in found["candidates"]} == set(COLOURS)
        assert found["rle"]["size"] == [96, 128]
        x0, y0, x1, y1 = BOXES[item]
        whole = np.zeros((96, 128), bool)
        whole[y0:y1, x0:x1] = True
        assert np.count_nonzero(coco.decode(found["rle"]) != whole) <= 4
    assert [f["defect"] for f in first["instances"]] == ["multi_pick", "nominal", "package_defect"]


def test_json_file_overlay_and_folder(scene, capsys, tmp_path):
    folder, words = scene
    (tmp_path / "other").mkdir()
    cv2.imwrite(str(tmp_path / "other" / "tote.png"), draw_tote()[..., ::-1])
    out = tmp_path / "out"
    inputs = [str(tmp_path / "other"), str(folder / "tote.png")]
    options = ["--json", str(out / "r.jsonl"), "--overlay", str(out / "drawn")]
    assert main(["perceive", *inputs, *options, *words]) == 0
    assert capsys.readouterr().out == ""
    found = lines((out / "r.jsonl").read_text())
    assert [line["file"] for line in found] == [f"{inputs[0]}/tote.png", inputs[1]]
    assert all(i["item_id"] == "" and not i["candidates"] for i in found[0]["instances"])
    assert sorted(path.name for path in (out / "drawn").iterdir()) == ["tote-2.jpg", "tote.jpg"]
    assert read_image(out / "drawn" / "tote.jpg").shape == (96, 128, 3)


def test_references_may_lie_elsewhere(scene, capsys, tmp_path):
    folder, words = scene
    (folder / "m.json").rename(tmp_path / "m.json")
    command = ["perceive", str(folder / "tote.png"), "--manifest", str(tmp_path / "m.json"), *words]
    assert main(command) == 2
    assert "reference" in capsys.readouterr().err
    assert main([*command, "--set", f"identification.reference_root={folder}"]) == 0


def truncated(folder):
    (folder / "tote.png").unlink()
    (folder / "tote.png").write_bytes(encode_jpeg(draw_tote())[:-30])


def garbage(folder):
    (folder / "tote.png").write_bytes(b"not an image at all")


def empty(folder):
    (folder / "tote.png").write_bytes(b"")


def no_manifest_json(folder):
    (folder / "m.json").write_text("{")


def wrong_manifest_field(folder):
    tree = json.loads((folder / "m.json").read_text())
    tree["products"][1]["weight_kg"] = "heavy"
    (folder / "m.json").write_text(json.dumps(tree))


def no_references(folder):
    tree = json.loads((folder / "m.json").read_text())
    tree["products"][1]["reference_images"] = []
    (folder / "m.json").write_text(json.dumps(tree))


def lost_reference(folder):
    (folder / "references" / "lime.png").unlink()


@pytest.mark.parametrize(
    "spoil, told",
    [
        (truncated, "truncated"),
        (garbage, "neither JPEG nor PNG"),
        (empty, "is empty"),
        (no_manifest_json, "not JSON"),
        (wrong_manifest_field, "$.products[1].weight_kg"),
        (no_references, "the manifest names no reference image"),
        (lost_reference, "'lime'"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(scene, capsys, tmp_path, spoil, told):
    folder, words = scene
    spoil(folder)
    out = tmp_path / "out"
    options = ["--json", str(out / "r.jsonl"), "--overlay", str(out / "drawn")]
    manifest = ["--manifest", str(folder / "m.json")]
    assert main(["perceive", str(folder / "tote.png"), *manifest, *options, *words]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert told in said.err
    assert said.err.startswith("robollm: ")
    assert said.err.count("\n") == 1
    assert not out.exists()


@pytest.mark.parametrize("word", ["segmentation.score_treshold=1", "colour=red", "nonsense"])
def test_an_unknown_setting_is_refused(scene, capsys, word):
    folder, words = scene
    assert main(["perceive", str(folder / "tote.png"), *words, "--set", word]) == 2
    assert capsys.readouterr().err.startswith("robollm: ")


def test_a_full_disk_leaves_nothing(scene, tmp_path):
    folder, words = scene
    noise = np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)
    cv2.imwrite(str(folder / "noise.png"), noise)
    disk = tmp_path / "disk"
    command = ["perceive", str(folder / "noise.png"), "--overlay", str(disk), *words]
    code = f"from robollm_core.cli.main import main\nprint('CODE', main({command!r}))"
    out, left = run_on_small_disk(disk, 32, code)
    assert out == "CODE 2\n"
    assert left == "[]"

# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""`robollm replay`: every frame, message time, the same bytes, and what it does with bad input."""

import json

import numpy as np
import pytest
from colour_cell import (
    BOXES,
    COLOURS,
    draw_tote,
    image_message,
    manifest_text,
    write_bag,
    write_references,
)
from small_disk import run_on_small_disk

from robollm_core.cli.main import main
from robollm_core.data import rostypes
from robollm_core.data.bag import read_topics
from robollm_core.data.bagwriter import BagWriter, Topic
from robollm_core.data.recorded import read_answers

IMAGES = Topic("/tote_camera/image/compressed", rostypes.COMPRESSED)
MANIFESTS = Topic("/container/manifest", rostypes.STRING, latched=True)


@pytest.fixture
def words(cell_settings):
    return [word for k, v in cell_settings.items() for word in ("--set", f"{k}={v}")]


@pytest.mark.parametrize("raw", [True, False])
def test_every_frame_is_answered_at_its_own_time(tmp_path, words, raw, capsys):
    bag = write_bag(tmp_path / "cell.mcap", frames=4, raw=raw)
    out = tmp_path / "out" / "answers.mcap"
    assert main(["replay", str(bag), "--out", str(out), *words]) == 0
    assert "4 frames answered" in capsys.readouterr().out
    answers = read_answers(out)
    stamps = [(index + 2) * 10**9 + index for index in range(4)]
    assert [answer.result.stamp_ns for answer in answers] == stamps
    for answer in answers:
        assert answer.result.camera == "tote_camera"
        found = {i.identification.item_id: i.instance.box_xyxy_px for i in answer.result.items}
        assert found == BOXES
    (topic, log_ns, masks), *_ = read_topics(out, {"/perception/masks": rostypes.IMAGE})
    assert (log_ns, masks.encoding, masks.header.frame_id) == (stamps[0], "mono8", "tote_camera")
    assert set(np.unique(masks.data)) == {0, 1, 2, 3}


def test_the_same_bytes_on_a_second_run_under_another_name(tmp_path, words):
    bag = write_bag(tmp_path / "cell.mcap", frames=3)
    for name in ("one", "two"):
        assert main(["replay", str(bag), "--out", str(tmp_path / f"{name}.mcap"), *words]) == 0
    one, two = ((tmp_path / f"{name}.mcap").read_bytes() for name in ("one", "two"))
    assert one == two


def test_other_thresholds_give_other_answers(tmp_path, words):
    bag = write_bag(tmp_path / "cell.mcap", frames=1)
    more = ["--set", "segmentation.score_threshold=0.85"]
    assert main(["replay", str(bag), "--out", str(tmp_path / "o.mcap"), *words, *more]) == 0
    (answer,) = read_answers(tmp_path / "o.mcap")
    assert len(answer.result.items) == 1


def say(bag, log_ns, text):
    bag.write(MANIFESTS.name, log_ns, rostypes.make(rostypes.STRING, data=text))


def test_a_manifest_holds_from_when_it_was_recorded(tmp_path, words):
    products = write_references(tmp_path)
    with BagWriter(tmp_path / "a.mcap", [MANIFESTS, IMAGES]) as bag:
        bag.write(IMAGES.name, 1, image_message(draw_tote(), 1))
        say(bag, 2, manifest_text(products[:1]))
        bag.write(IMAGES.name, 3, image_message(draw_tote(), 3))
        say(bag, 4, manifest_text(products, version=2))
        bag.write(IMAGES.name, 5, image_message(draw_tote(), 5))
    out = tmp_path / "o.mcap"
    assert main(["replay", str(tmp_path / "a.mcap"), "--out", str(out), *words]) == 0
    known = [
        [len(item.identification.candidates) for item in answer.result.items]
        for answer in read_answers(out)
    ]
    assert known == [[0, 0, 0], [1, 1, 1], [3, 3, 3]]


BAD = {
    "not json": "{",
    "unknown field type": json.dumps({"container_id": 5, "products": []}),
    "unknown product field": json.dumps(
        {"container_id": "T-1", "version": 9, "products": [{"product_id": "x", "colour": 1}]}
    ),
    "older version": manifest_text([], version=0),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_refused_manifest_leaves_the_one_before_in_force(tmp_path, words, capsys, kind):
    products = write_references(tmp_path)
    with BagWriter(tmp_path / "a.mcap", [MANIFESTS, IMAGES]) as bag:
        say(bag, 1, manifest_text(products))
        say(bag, 2, BAD[kind])
        bag.write(IMAGES.name, 3, image_message(draw_tote(), 3))
    out = tmp_path / "o.mcap"
    assert main(["replay", str(tmp_path / "a.mcap"), "--out", str(out), *words]) == 1
    said = capsys.readouterr()
    assert said.err.count("robollm: refused") == 1
    assert "1 messages refused" in said.out
    (answer,) = read_answers(out)
    assert [item.identification.item_id for item in answer.result.items] == list(COLOURS)


def cut(message):
    return rostypes.make(
        rostypes.COMPRESSED, header=message.header, format="jpeg", data=message.data[:-20]
    )


def test_a_broken_image_is_skipped_and_the_next_answered(tmp_path, words, capsys):
    with BagWriter(tmp_path / "a.mcap", [IMAGES]) as bag:
        bag.write(IMAGES.name, 1, image_message(draw_tote(), 1))
        bag.write(IMAGES.name, 2, cut(image_message(draw_tote(), 2)))
        bag.write(IMAGES.name, 3, image_message(np.zeros((50, 70, 3), np.uint8), 3))
    out = tmp_path / "o.mcap"
    assert main(["replay", str(tmp_path / "a.mcap"), "--out", str(out), *words]) == 1
    assert "truncated" in capsys.readouterr().err
    answers = read_answers(out)
    assert [answer.result.stamp_ns for answer in answers] == [1, 3]
    assert answers[1].result.image_size_px == (50, 70)  # the size changed mid-stream


RAW = Topic("/cam", rostypes.IMAGE)


@pytest.mark.parametrize(
    "change, told",
    [
        ({"encoding": "bayer_rggb8"}, "bayer_rggb8"),
        ({"width": 0}, "empty"),
        ({"step": 200}, "step"),
        ({"height": 40}, "bytes"),
    ],
)
def test_images_that_contradict_themselves_are_skipped(tmp_path, words, capsys, change, told):
    good = image_message(draw_tote(), 2, raw=True)
    names = ("header", "height", "width", "encoding", "is_bigendian", "step", "data")
    bad = rostypes.make(rostypes.IMAGE, **{n: getattr(good, n) for n in names} | change)
    with BagWriter(tmp_path / "a.mcap", [RAW]) as bag:
        bag.write(RAW.name, 1, bad)
        bag.write(RAW.name, 2, good)
    assert (
        main(["replay", str(tmp_path / "a.mcap"), "--out", str(tmp_path / "o.mcap"), *words]) == 1
    )
    assert told in capsys.readouterr().err
    assert len(read_answers(tmp_path / "o.mcap")) == 1


def empty_bag(path):
    with BagWriter(path, [IMAGES]):
        pass


def bag_without_the_topic(path):
    with BagWriter(path, [MANIFESTS]) as bag:
        say(bag, 1, "{}")


def truncated_bag(path):
    write_bag(path)
    path.write_bytes(path.read_bytes()[:-100])


def no_bag(path):
    pass


@pytest.mark.parametrize("make", [empty_bag, bag_without_the_topic, truncated_bag, no_bag])
def test_bags_that_cannot_be_replayed(tmp_path, words, capsys, make):
    make(tmp_path / "a.mcap")
    out = tmp_path / "out" / "o.mcap"
    assert main(["replay", str(tmp_path / "a.mcap"), "--out", str(out), *words]) == 2
    said = capsys.readouterr().err.splitlines()
    assert said[-1].startswith("robollm: ")
    assert "a.mcap" in said[-1]
    assert not out.exists()


def test_a_missing_model_stops_before_anything_is_written(tmp_path, words, capsys):
    bag = write_bag(tmp_path / "cell.mcap")
    more = ["--set", f"defects.artifact={tmp_path}/gone.onnx"]
    assert main(["replay", str(bag), "--out", str(tmp_path / "o.mcap"), *words, *more]) == 2
    assert "gone.onnx" in capsys.readouterr().err
    assert not (tmp_path / "o.mcap").exists()


def test_a_full_disk_leaves_nothing_half_written(tmp_path, words):
    bag = write_bag(tmp_path / "cell.mcap", frames=40)
    disk = tmp_path / "disk"
    code = f"""
from robollm_core.cli.main import main
print("CODE", main(["replay", {str(bag)!r}, "--out", {str(disk / "o.mcap")!r}, *{words!r}]))
"""
    out, left = run_on_small_disk(disk, 200, code)
    assert "CODE 2" in out
    assert left == "[]"

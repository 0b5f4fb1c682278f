# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Bags of a coloured cell through the real stages, counted by hand."""

import json

import cv2
import numpy as np
import pytest

pytest.importorskip("onnx")

from broken_bag import cut_a_jpeg
from colour_cell import (
    BOXES,
    draw_tote,
    image_message,
    manifest_text,
    truth,
    write_bag,
    write_cell,
    write_references,
)

from robollm_core.config import Config, update
from robollm_core.data import rostypes
from robollm_core.data.bag import BagReader
from robollm_core.data.bagwriter import BagWriter, Topic
from robollm_core.data.broken import BrokenFiles
from robollm_core.errors import ArtifactError, BagError, ConfigError, DatasetError
from robollm_core.evaluation import cell, intervals
from robollm_core.evaluation.cell_evaluation import load_stages
from robollm_core.evaluation.outcome import Request
from robollm_core.manifests import parse_manifest
from robollm_core.pipeline import perceive

SECOND = 10**9


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    write_cell(folder)
    return folder


@pytest.fixture(autouse=True)
def few_draws(monkeypatch):
    monkeypatch.setattr(intervals, "_RESAMPLES", 50)


def ask(bag, models, settings=None, **changes):
    config = update(Config(), {"runtime.threads": 1, **(settings or {})})
    return cell.evaluate(Request(bag, models, config=config, **changes))


def values(figures, *names):
    return [(figures[name]["value"], figures[name]["n"]) for name in names]


def write(path, frames, products=None, picks=(), **more):
    """A bag: `frames` are (items drawn, truth or None) at 2 s, 3 s, ..."""
    products = write_references(path.parent) if products is None else products
    topics = [
        Topic("/container/manifest", rostypes.STRING, latched=True),
        Topic("/tote_camera/image/compressed", rostypes.COMPRESSED),
        Topic("/ground_truth", rostypes.STRING),
        Topic("/pick/event", rostypes.STRING),
    ]
    with BagWriter(path, topics) as bag:

        def say(topic, stamp, text):
            bag.write(topic, stamp, rostypes.make(rostypes.STRING, data=text))

        say("/container/manifest", SECOND, manifest_text(products))
        for number, (items, told) in enumerate(frames):
            stamp = (number + 2) * SECOND
            image = image_message(draw_tote(0, items), stamp)
            bag.write("/tote_camera/image/compressed", stamp, image)
            if told is not None:
                say("/ground_truth", stamp, json.dumps({**truth(stamp, told), **more}))
        for number, pick in enumerate(picks):
            say("/pick/event", (number + 50) * SECOND, json.dumps(pick))
    return path


def test_every_thing_of_a_bag_is_judged(tmp_path, models):
    outcome = ask(write_bag(tmp_path / "cell.mcap", frames=3), models)
    figures = outcome.figures
    # the networks find and name all; red looks like a multi_pick, blue like a damage, all is sound
    assert values(figures, "found", "named_right", "found_and_named") == [(1.0, 9)] * 3
    assert values(figures, "defect_right", "all_right") == [(pytest.approx(1 / 3, abs=1e-6), 9)] * 2
    assert values(figures, "defect_fpr") == [(pytest.approx(2 / 3, abs=1e-6), 9)]
    assert not {"defect_recall", "none_of_these"} & set(figures)  # of nothing there is no rate
    assert values(figures, "false_instances_per_frame") == [(0.0, 3)]
    assert figures["counts"]["on_manifest"] == {
        "instances": 9, "not_found": 0, "named_right": 9, "named_wrong": 0, "none_of_these": 0,
    }  # fmt: skip
    assert figures["confusion"]["nominal"] == {"multi_pick": 3, "nominal": 3, "package_defect": 3}
    assert figures["manifest_items"] == {"min": 3, "mean": 3.0, "max": 3}
    assert set(figures["latency_ms"]) == {"segment", "identify", "inspect", "total"}
    assert outcome.samples == 3
    assert set(outcome.networks) == {
        "segmentation.onnx", "identification.onnx", "defects.onnx",
    }  # fmt: skip
    json.dumps([figures, list(outcome.records)], allow_nan=False)


def test_records_name_each_thing(tmp_path, models):
    outcome = ask(write_bag(tmp_path / "cell.mcap", frames=2), models)
    assert [record["id"] for record in outcome.records] == [
        f"tote_camera/{stamp}/{k}" for stamp in (2 * SECOND, 3 * SECOND + 1) for k in range(3)
    ]
    first = dict(outcome.records[0])
    assert first.pop("iou") == pytest.approx(1.0, abs=0.06)
    assert first == {
        "id": f"tote_camera/{2 * SECOND}/0", "item": "apple", "on_manifest": True, "found": True,
        "named": "apple", "item_right": True, "defect_truth": "nominal", "defect": "multi_pick",
        "all_right": False,
    }  # fmt: skip


def test_counts_are_those_of_the_demo(tmp_path, models):
    frames = [(("apple", "lime"), ("apple", "plum")), (("plum",), ("plum",))]
    bag = write(tmp_path / "a.mcap", frames)
    settings = {"identification.min_similarity": 0.9}
    figures = ask(bag, models, settings).figures
    # the network finds three boxes in any image; a box without its item is dark
    assert values(figures, "found") == [(1.0, 3)]
    assert values(figures, "false_instances_per_frame") == [(1.5, 2)]
    config = update(Config(), {"runtime.threads": 1, **settings})
    stages, _ = load_stages(Request(bag, models, config=config))
    manifest = parse_manifest(manifest_text(write_references(tmp_path)), "here")
    with BagReader(bag) as reader:
        images, truths = cell.read_scenes(reader)
    results = {stamp: perceive(image.decode(), manifest, stages) for stamp, image in images.items()}
    told = cell.score((results[stamp], truth) for stamp, truth in truths.items())
    fate = figures["counts"]["on_manifest"]
    assert told.instances_truth == figures["counts"]["instances"] == 3
    assert told.instances_found == 3 - fate["not_found"]
    assert (told.on_manifest, told.named_right) == (
        figures["named_right"]["n"],
        fate["named_right"],
    )
    assert told.named_right < 3


def test_an_item_off_the_manifest_wants_none_of_these(tmp_path, models):
    products = write_references(tmp_path)
    gone = [{**p, "quantity": 0} if p["product_id"] == "plum" else p for p in products]
    bag = write(tmp_path / "a.mcap", [(tuple(BOXES), tuple(BOXES))] * 2, gone)
    eager = ask(bag, models, {"identification.min_similarity": -1.0}).figures
    assert values(eager, "none_of_these", "named_right") == [(0.0, 2), (1.0, 4)]
    assert eager["counts"]["off_manifest"]["named_wrong"] == 2
    assert values(eager, "found_and_named") == [(pytest.approx(4 / 6, abs=1e-6), 6)]
    honest = ask(bag, models, {"identification.min_similarity": 0.9})
    assert values(honest.figures, "none_of_these", "found_and_named") == [(1.0, 2), (1.0, 6)]
    assert "named, not on the manifest" not in {e.group for e in honest.exhibits}
    shy = ask(bag, models, {"identification.min_margin": 2.0}).figures
    assert values(shy, "named_none", "named_wrong", "named_right") == [(1.0, 4), (0.0, 4), (0.0, 4)]


def test_what_is_not_found_is_neither_named_nor_inspected(tmp_path, models):
    bag = write_bag(tmp_path / "cell.mcap", frames=2)
    outcome = ask(bag, models, {"segmentation.score_threshold": 0.75})
    figures = outcome.figures
    assert values(figures, "found") == [(pytest.approx(2 / 3, abs=1e-6), 6)]
    assert values(figures, "named_right", "defect_right") == [(1.0, 4), (0.5, 4)]
    assert values(figures, "all_right") == [(pytest.approx(1 / 3, abs=1e-6), 6)]
    missed = [r for r in outcome.records if not r["found"]]
    assert [(r["item"], r["named"], r["defect"], r["all_right"]) for r in missed] == [
        ("plum", None, None, False)
    ] * 2
    assert {e.group for e in outcome.exhibits} == {"not found", "wrong defect"}


def test_a_frame_that_cannot_be_decoded_is_listed_and_left_out(tmp_path, models):
    whole = write_bag(tmp_path / "whole.mcap", frames=3)
    bag = cut_a_jpeg(whole, tmp_path / "cell.mcap", frame=1)
    broken = BrokenFiles(limit=0.5)
    outcome = ask(bag, models, broken=broken)
    assert [entry.path for entry in broken.entries] == [f"tote_camera/{3 * SECOND + 1}"]
    assert (outcome.samples, outcome.figures["counts"]["frames"]) == (3, 2)
    assert values(outcome.figures, "found") == [(1.0, 6)]
    with pytest.raises(DatasetError, match="more than 5%"):
        ask(bag, models)


def test_references_that_are_missing_are_not_passed_over(tmp_path, models):
    bag = write_bag(tmp_path / "cell.mcap", frames=2)
    (tmp_path / "references" / "apple.png").unlink()
    with pytest.raises(DatasetError, match=r"apple\.png"):
        ask(bag, models)
    with pytest.raises(DatasetError, match="no frame"):
        ask(bag, models, broken=BrokenFiles(limit=1.0))


def pick(stamp, item="lime", **changes):
    x0, y0, x1, y1 = BOXES[item]
    view = {"camera": "tote_camera", "match": "exact",
            "stamp": {"sec": stamp // SECOND, "nanosec": stamp % SECOND}}  # fmt: skip
    return {"phase": "pre_pick", "pick_id": f"p{stamp}{item}", "item_id": item, "views": [view],
            "roi": {"x": x0, "y": y0, "w": x1 - x0, "h": y1 - y0}, **changes}  # fmt: skip


def test_without_ground_truth_the_picks_are_judged(tmp_path, models):
    picks = [pick(2 * SECOND), pick(3 * SECOND, "apple"), pick(3 * SECOND, "plum")]
    bag = write(tmp_path / "a.mcap", [(tuple(BOXES), None)] * 3, picks=picks)
    outcome = ask(bag, models)
    assert outcome.figures["protocol"]["truth"] == "pick event"
    assert values(outcome.figures, "found", "found_and_named") == [(1.0, 3)] * 2
    # nobody has looked for defects, and not everything is labelled
    assert set(outcome.figures["over_instances"]) == {"found", "found_and_named", "named_right",
                                                      "named_wrong", "named_none"}  # fmt: skip
    table, plot, *_ = outcome.blocks
    assert len(table.rows) == 5 and list(plot.series[0].x) == ["found", "found and named"]
    for name in ("all_right", "defect_right", "false_instances_per_frame"):
        assert name not in outcome.figures
    assert [record["item"] for record in outcome.records] == ["lime", "apple", "plum"]
    assert outcome.samples == 2
    assert outcome.figures["left_out"]["frame without a label"]["count"] == 1


def test_ground_truth_comes_before_picks(tmp_path, models):
    frames = [(tuple(BOXES), ("apple",)), (tuple(BOXES), None)]
    bag = write(tmp_path / "a.mcap", frames, picks=[pick(3 * SECOND)])
    outcome = ask(bag, models)
    assert outcome.figures["protocol"]["truth"] == "ground truth"
    assert [record["item"] for record in outcome.records] == ["apple"]


def test_the_nearest_instance_of_a_loose_roi_is_the_pick(tmp_path, models):
    x0, y0, x1, y1 = BOXES["lime"]
    roi = {"x": x0 - 4, "y": y0 - 4, "w": x1 - x0 + 8, "h": y1 - y0 + 8}
    bag = write(tmp_path / "a.mcap", [(tuple(BOXES), None)], picks=[pick(2 * SECOND, roi=roi)])
    (record,) = ask(bag, models).records
    wide, inner = roi["w"] * roi["h"], (x1 - x0) * (y1 - y0)
    assert record["found"] and record["named"] == "lime"
    assert record["iou"] == pytest.approx(inner / wide, abs=0.03)


def test_a_bag_that_says_nothing_of_its_frames_is_refused(tmp_path, models):
    bag = write(tmp_path / "a.mcap", [(tuple(BOXES), None)])
    with pytest.raises(BagError, match="ground_truth"):
        ask(bag, models)


def test_a_truth_of_another_image_size_is_a_broken_frame(tmp_path, models):
    rle = {"size": [4, 4], "counts": "42:"}
    from pycocotools import mask as coco

    rle["counts"] = coco.encode(np.ones((4, 4), np.uint8, order="F"))["counts"].decode()
    wrong = [{"item_id": "apple", "defect": "nominal", "rle": rle}]
    bag = write(tmp_path / "a.mcap", [(("apple",), ("apple",))], instances=wrong)
    with pytest.raises(DatasetError, match="the mask is"):
        ask(bag, models)


def test_a_cell_needs_a_folder_of_three_networks_and_known_options(tmp_path, models):
    bag = write_bag(tmp_path / "cell.mcap", frames=1)
    with pytest.raises(ConfigError, match="three networks"):
        ask(bag, models / "defects.onnx")
    with pytest.raises(ConfigError, match="image_topic"):
        ask(bag, models, options={"encoder": "x"})
    with pytest.raises(BagError, match="no image topic /other"):
        ask(bag, models, options={"image_topic": "/other"})
    (tmp_path / "empty").mkdir()
    with pytest.raises(ArtifactError, match=r"segmentation\.onnx"):
        ask(bag, tmp_path / "empty")


def test_pictures_are_small_and_tables_whole(tmp_path, models):
    outcome = ask(write_bag(tmp_path / "cell.mcap", frames=8), models)
    groups = [exhibit.group for exhibit in outcome.exhibits]
    assert groups == ["wrong defect"] * 12  # of sixteen
    for exhibit in outcome.exhibits:
        for _, data in exhibit.pictures:
            shape = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR).shape
            assert max(shape) <= 320
    for block in outcome.blocks:
        if hasattr(block, "columns") and hasattr(block, "note") and hasattr(block, "rows"):
            width = len(block.columns)
            assert {len(row) for row in getattr(block, "counts", block.rows)} == {width}
    plot = next(block for block in outcome.blocks if hasattr(block, "series"))
    (bars,) = plot.series
    assert list(bars.y) == sorted(bars.y, reverse=True)
    assert len(bars.x) == len(bars.y) == len(bars.low) == len(bars.high) == 3

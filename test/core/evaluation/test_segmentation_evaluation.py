# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The whole road from files to figures, beside plain pycocotools on the same files."""

import contextlib
import io
import json

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

pytest.importorskip("onnx", reason="the stand-in network is written with onnx")

import colour_cell
import small_totes

from robollm_core.config import Config, load
from robollm_core.data.broken import BrokenFiles
from robollm_core.errors import ArtifactError, ConfigError, DatasetError
from robollm_core.evaluation import segmentation_protocol
from robollm_core.evaluation.outcome import Plot, Request, Table
from robollm_core.evaluation.precision import IOUS, precision_of
from robollm_core.evaluation.segmentation import evaluate

BOXES = [(8, 8, 40, 40), (56, 16, 88, 64), (96, 48, 120, 88)]
SCORES = [0.9, 0.8, 0.3]
MIXED = "mix-object-tote"
ZOOMED = "zoomed-out-tote-transfer-set"


@pytest.fixture(autouse=True)
def few_resamples(monkeypatch):
    monkeypatch.setattr(segmentation_protocol, "RESAMPLES", 3)


@pytest.fixture
def network(tmp_path):
    return colour_cell.segmentation(tmp_path / "segmentation.onnx", BOXES, SCORES)


@pytest.fixture(scope="module")
def peer(tmp_path_factory):
    """A random set, answers to it, and what the evaluation says of them."""
    folder = tmp_path_factory.mktemp("peer")
    file, answers = small_totes.random_set(folder / "data" / MIXED, "test", 25, seed=0)
    results = folder / "theirs.json"
    results.write_text(json.dumps(answers))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(segmentation_protocol, "RESAMPLES", 20)
        outcome = evaluate(Request(folder / "data", results, options={"results": results}))
    return file, results, outcome


def write_boxes(folder, split, contents):
    """A subset with boxes of objects, a list an image."""
    annotations = []
    for number, boxes in enumerate(contents, 1):
        for box in boxes:
            annotations.append(small_totes.truth(len(annotations) + 1, number, box))
    return small_totes.write_set(folder, split, range(1, len(contents) + 1), annotations)


def measure(data, models, split="test", config=None, **rest):
    return evaluate(Request(data, models, split, config or Config(), **rest))


def plain(file, answers, kind, images=None, classes=None, areas=None):
    """pycocotools as anyone would use it: files in, its twelve statistics out."""
    with contextlib.redirect_stdout(io.StringIO()):
        index = COCO(str(file))
        found = index.loadRes(str(answers) if not isinstance(answers, list) else answers)
        judge = COCOeval(index, found, kind)
        judge.params.catIds = classes or judge.params.catIds
        judge.params.imgIds = images or judge.params.imgIds
        if areas:
            judge.params.areaRng = areas
        judge.evaluate()
        judge.accumulate()
        judge.summarize()
    return [round(float(value), 6) for value in judge.stats]


def values(figures, names):
    return [figures[name]["value"] for name in names]


@pytest.mark.parametrize(("name", "kind"), [("mask", "segm"), ("box", "bbox")])
def test_object_figures_equal_plain_pycocotools_to_the_last_digit(peer, name, kind):
    file, results, outcome = peer
    subset = outcome.figures["subsets"][MIXED]
    expected = plain(file, results, kind, classes=[4])
    assert 0.1 < expected[0] < 0.9  # else the test says nothing
    names = ("ap", "ap50", "ap75", "ar_1", "ar_10", "ar_100")
    assert values(subset[name], names) == [expected[i] for i in (0, 1, 2, 6, 7, 8)]


@pytest.mark.parametrize(("name", "kind"), [("mask", "segm"), ("box", "bbox")])
def test_figures_of_both_classes_equal_plain_pycocotools(peer, name, kind):
    file, results, outcome = peer
    both = outcome.figures["subsets"][MIXED]["tote_and_object"][name]
    names = ("ap", "ap50", "ap75")
    assert values(both["mean"], names) == plain(file, results, kind)[:3]
    assert values(both["tote"], names) == plain(file, results, kind, classes=[9])[:3]
    assert values(both["object"], names) == plain(file, results, kind, classes=[4])[:3]


def counts_of(file):
    tree = json.loads(file.read_text())
    counts = {image["id"]: 0 for image in tree["images"]}
    for one in tree["annotations"]:
        counts[one["image_id"]] += one["category_id"] == 4 and not one["iscrowd"]
    return counts


def test_every_bin_of_crowding_equals_plain_pycocotools_on_its_images(peer):
    file, results, outcome = peer
    crowding = outcome.figures["subsets"][MIXED]["crowding"]
    counts = counts_of(file)
    bins = {"1-5": (1, 5), "6-10": (6, 10), "11-15": (11, 15)}
    assert set(crowding) == {*bins, "protocol"}
    for name, (least, most) in bins.items():
        images = [key for key, count in counts.items() if least <= count <= most]
        assert crowding[name]["images"] == len(images)
        assert crowding[name]["instances"] == sum(counts[key] for key in images)
        names = ("ap", "ap50", "ap75")
        masks = plain(file, results, "segm", images, [4])
        assert values(crowding[name], names) == masks[:3]
        assert values(crowding[name]["box"], names) == plain(file, results, "bbox", images, [4])[:3]


def test_figures_by_size_equal_plain_pycocotools_with_scaled_limits(peer):
    file, results, outcome = peer
    answers = json.loads(results.read_text())
    for one in answers:
        del one["bbox"]  # with a box pycocotools takes its area for the mask's
    scale = small_totes.HIGH * small_totes.WIDE / (640 * 480)
    limits = [[0, 1e10], [0, 1024 * scale], [1024 * scale, 9216 * scale], [9216 * scale, 1e10]]
    expected = plain(file, answers, "segm", classes=[4], areas=limits)[3:6]
    by_size = outcome.figures["subsets"][MIXED]["by_size"]
    assert [by_size[size]["ap"]["value"] for size in ("small", "medium", "large")] == expected
    assert len(set(expected)) == 3
    assert min(by_size[size]["instances"] for size in ("small", "medium", "large")) > 3


def test_an_image_or_class_without_truths_does_not_count(tmp_path):
    file = small_totes.write_set(tmp_path / MIXED, "test", [1, 2], [])
    results = tmp_path / "theirs.json"
    results.write_text(json.dumps([small_totes.answer(1, BOXES[0], 0.9)]))
    figures = measure(tmp_path, results, options={"results": results}).figures
    nothing = {"value": 0.0, "n": 0, "low": 0.0, "high": 1.0}
    assert plain(file, results, "segm")[0] == -1.0
    assert figures["mask_map50"] == nothing
    assert figures["subsets"][MIXED]["tote_and_object"]["mask"]["mean"]["ap"] == nothing
    assert figures["subsets"][MIXED]["at_threshold"]["recall"] == nothing
    json.dumps(figures, allow_nan=False)


def test_intervals_are_seeded_and_hold_the_value(peer, tmp_path):
    file, results, outcome = peer
    again = measure(file.parent.parent, results, options={"results": results}, seed=1)
    figure, other = outcome.figures["mask_map50"], again.figures["mask_map50"]
    assert figure["low"] < figure["value"] < figure["high"]
    assert figure["n"] == 25
    assert figure["value"] == other["value"]
    assert figure["low"] != other["low"]
    same = measure(file.parent.parent, results, options={"results": results}, seed=1)
    assert same.figures == again.figures


def test_records_give_the_figures_again(peer):
    _, _, outcome = peer
    masks = outcome.figures["subsets"][MIXED]["mask"]
    assert len({one["id"] for one in outcome.records}) == outcome.samples == 25
    for name, ious in (("ap", IOUS), ("ap50", [0.5]), ("ap75", [0.75])):
        assert round(precision_of(outcome.records, ious), 6) == masks[name]["value"]
    again = [json.loads(json.dumps(one)) for one in outcome.records]
    assert precision_of(again, IOUS) == precision_of(outcome.records, IOUS)


def test_every_group_says_how_it_was_measured(peer):
    _, _, outcome = peer
    subset = outcome.figures["subsets"][MIXED]
    for name in ("mask", "box", "tote_and_object", "by_size", "crowding", "at_threshold"):
        assert len(subset[name]["protocol"]) > 20
    assert "chosen on this split" in subset["at_best_f1"]["protocol"]
    assert {"iou", "crowd", "area", "class_set", "max_detections", "selection"} <= set(
        outcome.figures["protocol"]
    )


def test_results_written_fit_pycocotools_and_give_the_same_figures(network, tmp_path):
    data = tmp_path / "data"
    file = write_boxes(data / MIXED, "test", [BOXES, BOXES[:1], []])
    outcome = measure(data, network)
    assert set(outcome.files) == {f"coco_results_{MIXED}.json"}
    written = tmp_path / f"coco_results_{MIXED}.json"
    written.write_bytes(outcome.files[written.name])
    expected = plain(file, written, "segm", classes=[4])
    masks = outcome.figures["subsets"][MIXED]["mask"]
    assert values(masks, ("ap", "ap50", "ap75")) == expected[:3]
    entry = json.loads(written.read_text())[0]
    assert set(entry) == {"image_id", "category_id", "segmentation", "score", "bbox"}
    assert (entry["image_id"], entry["category_id"]) == (1, 4)
    assert entry["bbox"] == [8, 8, 32, 32]
    read_again = measure(data, tmp_path, options={"results": tmp_path})
    assert read_again.figures == outcome.figures
    assert read_again.records == outcome.records
    assert list(read_again.networks) == [written.name]


def test_a_network_that_says_the_truth_has_ap_one(network, tmp_path):
    write_boxes(tmp_path / MIXED, "test", [BOXES] * 3)
    outcome = measure(tmp_path, network)
    figures = outcome.figures
    assert figures["mask_map50"] == {"value": 1.0, "n": 3, "low": 1.0, "high": 1.0}
    subset = figures["subsets"][MIXED]
    for kind in ("mask", "box"):
        assert values(subset[kind], ("ap", "ap50", "ap75")) == [1.0, 1.0, 1.0]
    assert (subset["images"], subset["instances"]) == (3, 9)
    assert outcome.networks.keys() == {"segmentation.onnx"}
    json.dumps(figures, allow_nan=False)


def test_figures_worked_out_by_hand(network, tmp_path):
    # image 1: all three there; image 2: only the best one; image 3: nothing at all
    write_boxes(tmp_path / MIXED, "val", [BOXES, BOXES[:1], []])
    half = load(None, ["segmentation.score_threshold=0.5"])
    figures = measure(tmp_path, network, "val", half).figures
    # ranked: 0.9 hit hit miss, 0.8 hit miss miss, 0.3 hit miss miss; recalls 1/4 each
    # precision from the right: 1 1 . 3/4 . . 4/7; recalls up to 1/2, 3/4, 1
    expected = (51 * 1.0 + 25 * 3 / 4 + 25 * 4 / 7) / 101
    assert figures["mask_map50"]["value"] == pytest.approx(expected, abs=1e-6)
    point = figures["subsets"][MIXED]["at_threshold"]
    assert point["score_threshold"] == 0.5
    assert (point["precision"]["value"], point["precision"]["n"]) == (3 / 6, 6)
    assert (point["recall"]["value"], point["recall"]["n"]) == (3 / 4, 4)


def test_a_single_image_leaves_the_interval_open(network, tmp_path):
    write_boxes(tmp_path / MIXED, "test", [BOXES[:2], []])
    subset = measure(tmp_path, network).figures["subsets"][MIXED]
    whole = subset["mask"]["ap50"]
    assert (whole["n"], whole["low"], whole["high"]) == (2, 0.0, 1.0)
    assert subset["crowding"]["1-5"]["ap50"] == {"value": 1.0, "n": 1, "low": 0.0, "high": 1.0}


def test_a_lower_threshold_moves_the_working_point_alone(network, tmp_path):
    write_boxes(tmp_path / MIXED, "val", [BOXES])
    recalls = []
    for threshold in (0.5, 0.1):
        config = load(None, [f"segmentation.score_threshold={threshold}"])
        figures = measure(tmp_path, network, "val", config).figures
        assert figures["mask_map50"]["value"] == 1.0
        recalls.append(figures["subsets"][MIXED]["at_threshold"]["recall"]["value"])
    assert recalls == [pytest.approx(2 / 3, abs=1e-6), 1.0]


def test_the_working_point_has_no_more_answers_than_the_stage_gives(network, tmp_path):
    write_boxes(tmp_path / MIXED, "test", [BOXES])
    settings = ["segmentation.score_threshold=0.1", "segmentation.max_instances=2"]
    figures = measure(tmp_path, network, config=load(None, settings)).figures
    point = figures["subsets"][MIXED]["at_threshold"]
    assert point["precision"]["n"] == 2
    assert figures["mask_map50"]["value"] == 1.0


def test_the_best_working_point_leaves_false_alarms_out(network, tmp_path):
    # only the two better boxes are there, so the best threshold lies above 0.3
    write_boxes(tmp_path / MIXED, "val", [BOXES[:2]])
    best = measure(tmp_path, network, "val").figures["subsets"][MIXED]["at_best_f1"]
    assert 0.3 < best["score_threshold"] <= 0.8
    assert best["precision"]["value"] == best["recall"]["value"] == 1.0


def test_masks_of_half_the_size_fail_every_threshold_above_it(tmp_path):
    # the upper half of each box: IoU 0.5 exactly, a hit at 0.5 and at nothing above
    masks = np.zeros((3, 28, 28), np.float32)
    masks[:, :14] = 1.0
    network = colour_cell.segmentation(tmp_path / "s.onnx", BOXES, SCORES, masks)
    write_boxes(tmp_path / MIXED, "test", [BOXES])
    subset = measure(tmp_path, network).figures["subsets"][MIXED]
    assert values(subset["mask"], ("ap", "ap50", "ap75")) == [0.1, 1.0, 0.0]
    assert subset["box"]["ap50"]["value"] == 1.0


def test_a_network_without_totes_has_no_ap_there_and_half_the_mean(network, tmp_path):
    tote = small_totes.truth(4, 1, (1, 1, 127, 95), 9)
    objects = [small_totes.truth(n, 1, box) for n, box in enumerate(BOXES, 1)]
    small_totes.write_set(tmp_path / MIXED, "test", [1], [*objects, tote])
    both = measure(tmp_path, network).figures["subsets"][MIXED]["tote_and_object"]["mask"]
    assert [both[name]["ap50"]["value"] for name in ("object", "tote", "mean")] == [1.0, 0.0, 0.5]


def test_a_folder_of_photos_has_no_splits_and_needs_no_totes(network, tmp_path):
    file = write_boxes(tmp_path, "annotations", [BOXES])
    tree = json.loads(file.read_text())
    tree["categories"] = tree["categories"][:1]
    file.write_text(json.dumps(tree))
    figures = measure(tmp_path, network).figures
    assert figures["of"] == "photos"
    assert figures["mask_map50"]["value"] == 1.0
    assert set(figures["subsets"]["photos"]["tote_and_object"]["mask"]) == {"object", "mean"}


def test_all_subsets_are_measured_and_the_mixed_one_leads(network, tmp_path):
    write_boxes(tmp_path / ZOOMED, "test", [[(0, 0, 5, 5)]])
    write_boxes(tmp_path / MIXED, "test", [BOXES])
    outcome = measure(tmp_path, network)
    assert outcome.figures["of"] == MIXED
    assert outcome.figures["mask_map50"]["value"] == 1.0
    assert outcome.figures["subsets"][ZOOMED]["mask"]["ap50"]["value"] == 0.0
    assert {one["subset"] for one in outcome.records} == {MIXED, ZOOMED}


def test_a_broken_image_is_left_out_and_listed(network, tmp_path):
    write_boxes(tmp_path / MIXED, "test", [BOXES] * 3)
    (tmp_path / MIXED / "images" / "2.png").write_bytes(b"no image")
    broken = BrokenFiles(limit=0.5)
    outcome = measure(tmp_path, network, broken=broken)
    assert [entry.path.rsplit("/", 1)[1] for entry in broken.entries] == ["2.png"]
    assert outcome.samples == 3
    assert outcome.figures["subsets"][MIXED]["images"] == 2
    with pytest.raises(DatasetError, match="1 of 3"):
        measure(tmp_path, network)


def test_an_image_that_is_listed_twice_counts_once(network, tmp_path):
    file = write_boxes(tmp_path / MIXED, "test", [BOXES, BOXES[:1]])
    tree = json.loads(file.read_text())
    tree["images"].append({**tree["images"][0], "id": 77})
    file.write_text(json.dumps(tree))
    broken = BrokenFiles(limit=0.5)
    outcome = measure(tmp_path, network, broken=broken)
    assert len(broken.entries) == 1
    assert "twice" in broken.entries[0].reason
    assert [one["instances"] for one in outcome.records] == [3, 1]


def test_results_leave_out_the_same_broken_images_as_a_network(network, tmp_path):
    write_boxes(tmp_path / MIXED, "test", [BOXES] * 3)
    results = tmp_path / "theirs.json"
    results.write_text("[]")
    (tmp_path / MIXED / "images" / "2.png").write_bytes(b"no image")
    ids = [
        [one["id"] for one in measure(tmp_path, network, **rest).records]
        for rest in (
            {"broken": BrokenFiles(limit=0.5)},
            {"broken": BrokenFiles(limit=0.5), "options": {"results": results}},
        )
    ]
    assert ids[0] == ids[1] == [f"{MIXED}/1.png", f"{MIXED}/3.png"]


def test_a_set_without_images_is_refused(network, tmp_path):
    small_totes.write_set(tmp_path / MIXED, "test", [], [])
    with pytest.raises(DatasetError, match="no images"):
        measure(tmp_path, network)


def test_no_data_a_foreign_artifact_and_an_unknown_option_are_refused(network, tmp_path):
    with pytest.raises(DatasetError, match=MIXED):
        measure(tmp_path, network)
    write_boxes(tmp_path / MIXED, "test", [BOXES])
    other = colour_cell.identification(tmp_path / "identification.onnx")
    with pytest.raises(ArtifactError, match="segmentation"):
        measure(tmp_path, other)
    with pytest.raises(ConfigError, match="encoder"):
        measure(tmp_path, network, options={"encoder": "x"})


def test_the_report_has_whole_tables_and_plots(peer):
    _, _, outcome = peer
    tables = [block for block in outcome.blocks if isinstance(block, Table)]
    assert len(tables) == 5
    for table in tables:
        assert table.rows
        assert {len(row) for row in table.rows} == {len(table.columns)}
    curve = next(block for block in outcome.blocks if isinstance(block, Plot))
    assert [len(series.x) for series in curve.series] == [101, 101]
    mean = sum(curve.series[0].y) / 101
    assert mean == pytest.approx(outcome.figures["mask_map50"]["value"], abs=1e-5)


@pytest.mark.parametrize("simulated", [False, True])
def test_published_points_say_that_they_are_of_other_data(network, tmp_path, simulated):
    write_boxes(tmp_path / MIXED, "test", [BOXES])
    if simulated:
        (tmp_path / "synthetic-test.json").write_text("{}")
    plots = [block for block in measure(tmp_path, network).blocks if isinstance(block, Plot)]
    plot = next(one for one in plots if "instances" in one.title)
    published = {series.name: tuple(series.y) for series in plot.series[1:]}
    assert published["RoboLLM, BEiT-3 Base, published"] == (0.95, 0.75)
    assert ("simulated" in plot.note) == simulated
    assert plot.series[0].x == ["1-5"]

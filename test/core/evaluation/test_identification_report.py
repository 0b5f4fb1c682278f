# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""What an identification run shows, and that it holds with broken files, peers and lists."""

import csv
import io
import json
import pickle
import shutil

import cv2
import numpy as np
import pytest
import small_foreign
import small_sets
import torch

pytest.importorskip("onnx")

from robollm_core.cli import main as command
from robollm_core.data.armbench_identification import VIEWS, read_identification
from robollm_core.data.broken import BrokenFiles
from robollm_core.errors import ConfigError, DatasetError
from robollm_core.evaluation import calibration, intervals
from robollm_core.evaluation.identification import evaluate
from robollm_core.evaluation.outcome import Plot, Request, Table
from robollm_core.identification.model import build_identification
from robollm_core.images import CropSpec
from robollm_core.training.checkpoint import save_checkpoint

SPEC = CropSpec(32, "pad", True, 0.05)


@pytest.fixture(scope="module", autouse=True)
def few_draws():
    """What intervals are is tested elsewhere; here they need not be exact."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(intervals, "_RESAMPLES", 40)
        patch.setattr(calibration, "RESAMPLES", 40)
        yield


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A folder with a tiny-sized network of random weights."""
    folder = tmp_path_factory.mktemp("models")
    settings = {"size": "tiny", "img_size": 32, "embedding": 32, "fusion": 512}
    torch.manual_seed(1)
    content = {
        "stage": "identification",
        "recipe": {"model": settings, "crop": SPEC.to_json()},
        "model": build_identification(settings).eval().state_dict(),
        "step": 1,
    }
    save_checkpoint(folder / "best.pt", content)
    words = ["export", "identification", "--checkpoint", str(folder / "best.pt")]
    assert command.main([*words, "--out", str(folder / "identification.onnx")]) == 0
    return folder


@pytest.fixture(scope="module")
def picks(tmp_path_factory):
    """Picks with the fourth view; the photos of P14 and P15 lie in each other's folder."""
    root = small_sets.write_picks(tmp_path_factory.mktemp("picks"))
    for folder in (root / "Picks").glob("test-*"):
        shutil.copy(folder / "ToteWallRGB.jpg", folder / "FarTrayRGB.jpg")
        annotation = json.loads((folder / "annotation.json").read_text())
        annotation["FarTrayRGB"] = annotation["ToteWallRGB"]
        (folder / "annotation.json").write_text(json.dumps(annotation))
    shelf = root / "Reference_Images"
    for old, new in (("P14", "x"), ("P15", "P14"), ("x", "P15")):
        (shelf / old).rename(shelf / new)
    return root


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """Embeddings that the runs of this file share."""
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="module")
def outcome(picks, models, work):
    return evaluate(Request(picks, models, work=work))


@pytest.fixture(scope="module")
def nearest(picks, models, work):
    return evaluate(Request(picks, models, work=work, options={"protocol": "nearest"}))


def printed_rate(data):
    rows = list(csv.DictReader(io.StringIO(data.decode())))
    return sum(row["predicted-fnsku"] == row["gt-fnsku"] for row in rows) / len(rows) * 100


def protocols(tree, path=()):
    for name, branch in tree.items():
        if isinstance(branch, dict):
            yield from protocols(branch, (*path, name))
        elif name == "protocol":
            yield path, branch


def figures_in(tree):
    for branch in tree.values():
        if isinstance(branch, dict) and set(branch) == {"value", "n", "low", "high"}:
            yield branch
        elif isinstance(branch, dict):
            yield from figures_in(branch)


def test_every_group_names_its_protocol_and_every_figure_has_an_interval(outcome, nearest):
    for made in (outcome, nearest):
        named = dict(protocols(made.figures))
        groups = [name for name, own in made.figures.items() if isinstance(own, dict)
                  and any(True for _ in figures_in({name: own}))
                  and "value" not in own and name not in ("peers",)]  # fmt: skip
        assert all((name,) in named for name in groups) and () in named and len(groups) >= 2
        assert all(len(text) > 40 for text in named.values())
        found = list(figures_in(made.figures))
        assert len(found) > 15
        assert all(0 <= f["low"] <= f["high"] for f in found)
        json.dumps(made.figures, allow_nan=False)


def test_the_whole_gallery_holds_items_that_no_manifest_names(outcome):
    figures = outcome.figures
    assert figures["all_references"]["items"] == 5  # P12 to P15 and P17
    assert figures["picked_references"]["items"] == 4
    assert figures["whole_gallery"]["items"] == 17  # all but P16
    assert figures["whole_gallery"]["images"] == 34
    for k in (1, 2, 3, 5):
        wide = figures["whole_gallery"][f"recall_at_{k}_n1"]
        assert wide["value"] <= figures["all_references"][f"recall_at_{k}_n1"]["value"]
        assert wide["value"] <= figures[f"recall_at_{k}_n1"]["value"] and wide["n"] == 8


def test_without_the_whole_gallery_the_other_figures_stay(outcome, picks, models, work):
    short = evaluate(Request(picks, models, work=work, options={"galleries": "split"})).figures
    assert set(outcome.figures) - set(short) == {"whole_gallery"}
    for name in ("recall_at_1_n1", "all_references", "calibration", "views", "image_level"):
        assert short[name] == outcome.figures[name]


def test_each_view_is_asked_alone_the_fourth_too(outcome):
    views = outcome.figures["views"]
    assert set(views) == {*VIEWS, "FarTrayRGB", "protocol"}
    assert views["FarTrayRGB"] == views["ToteWallRGB"]  # the same picture here
    assert views["PickRGB"]["recall_at_1"] == outcome.figures["recall_at_1_n1"]


def test_there_is_a_record_a_pick_in_the_order_of_the_split(outcome, picks):
    samples = read_identification(picks, "test").picks
    assert [row["id"] for row in outcome.records] == [pick.pick_id for pick in samples]
    assert outcome.samples == 12
    closed = [row for row in outcome.records if row["group"] == "closed"]
    assert len(closed) == 8
    for end in ("n1", "n3"):
        ranks = [row[end]["rank"] for row in closed]
        for k in (1, 2, 3, 5):
            figure = outcome.figures[f"recall_at_{k}_{end}"]
            assert figure["value"] == np.mean(np.array(ranks) <= k)
        assert all((r[end]["rank"] == 1) == (r[end]["chosen"] == r["item"]) for r in closed)
    assert all(row["manifest"] == 4 and row["references"] == 2 for row in closed)
    others = [row for row in outcome.records if row["group"] != "closed"]
    assert {row["group"] for row in others} == {"not_on_manifest", "no_reference"}
    assert all(row["n1"]["rank"] is None and row["item"] in ("P16", "P17") for row in others)
    for row in outcome.records:
        assert 0.2 < row["n1"]["confidence"] <= 1.0 and row["n1"]["margin"] >= 0.0


def test_the_files_of_peers_say_what_our_figures_say(outcome, nearest):
    assert set(outcome.files) == {"output.csv", "n1/output.csv"}
    for made in (outcome, nearest):
        for name, data in made.files.items():
            found = made.figures["peers"][name]
            assert found["id_retrieval_rate"] == printed_rate(data)
            assert found["share"]["n"] == 12
    right = sum(row["n3"]["rank"] == 1 for row in outcome.records)
    assert outcome.figures["peers"]["output.csv"]["share"]["value"] == round(right / 12, 6)


def test_nearest_counts_a_pick_that_cannot_be_right_as_wrong(nearest):
    figures = nearest.figures
    assert figures["recall_at_1_nearest"]["n"] == 12 and figures["closed"]["recall_at_1"]["n"] == 8
    right = sum(row["nearest"]["rank"] == 1 for row in nearest.records)
    assert figures["recall_at_1_nearest"]["value"] == round(right / 12, 6)
    assert figures["recall_at_5_nearest"]["value"] == round(8 / 12, 6)
    assert figures["closed"]["recall_at_5"]["value"] == 1.0
    assert figures["picks"]["not_on_manifest"] == figures["picks"]["no_reference"] == 2


def test_nearest_ranks_items_that_the_split_lists(picks, models, work, tmp_path):
    root = shutil.copytree(picks, tmp_path / "picks")
    path = root / "train-test-split.pickle"
    split = pickle.loads(path.read_bytes())  # our own
    split["testset-objects"] = [n for n in split["testset-objects"] if n != "P12"]
    path.write_bytes(pickle.dumps(split))
    made = evaluate(Request(root, models, work=work, options={"protocol": "nearest"}))
    assert made.figures["picks"]["no_reference"] == 4 and made.figures["picks"]["closed"] == 6
    assert "lists as objects" in made.figures["protocol"]
    assert all(row["manifest"] == 3 for row in made.records)


def test_nearest_asks_with_the_views_that_there_are(picks, models, work, tmp_path, nearest):
    root = shutil.copytree(picks, tmp_path / "picks")
    for view in ("OnArmLowRGB", "ToteWallRGB", "FarTrayRGB"):
        (root / "Picks" / "test-12-0" / f"{view}.jpg").unlink()
    for view in (*VIEWS, "FarTrayRGB"):
        (root / "Picks" / "test-13-0" / f"{view}.jpg").unlink()
    made = evaluate(Request(root, models, work=work, options={"protocol": "nearest"}))
    assert made.figures["picks"]["lacks_views"] == 1 and made.figures["picks"]["closed"] == 7
    assert made.figures["recall_at_1_nearest"]["n"] == 11
    before = {row["id"]: row["nearest"] for row in nearest.records}
    after = {row["id"]: row.get("nearest") for row in made.records}
    assert after["test-13-0"] is None
    # fewer views cannot bring a nearer image
    assert after["test-12-0"]["similarity"] <= before["test-12-0"]["similarity"]
    assert after["test-14-0"] == before["test-14-0"]


def test_the_page_has_tables_that_are_whole_and_plots_with_limits(outcome, nearest):
    for made in (outcome, nearest):
        tables = [block for block in made.blocks if isinstance(block, Table)]
        plots = [block for block in made.blocks if isinstance(block, Plot)]
        assert all(len(row) == len(t.columns) for t in tables for row in t.rows)
        assert all(t.rows for t in tables) and plots
        for series in (one for plot in plots for one in plot.series):
            assert len(series.x) == len(series.y) >= 1
            assert {len(series.low), len(series.high)} <= {0, len(series.y)}
            limits = zip(series.low, series.y if series.low else (), series.high, strict=True)
            assert all(low <= y <= high for low, y, high in limits)
    names = [block.title for block in outcome.blocks]
    assert len(names) == len(set(names)) and "Reliability" in names


def test_wrong_answers_come_first_the_surest_in_front(outcome, picks):
    wrong = [one for one in outcome.exhibits if one.group == "wrong item"]
    narrow = [one for one in outcome.exhibits if one.group == "narrowly right"]
    closed = {row["id"]: row["n3"] for row in outcome.records if row["group"] == "closed"}
    missed = [name for name, own in closed.items() if own["rank"] != 1]
    hit = [name for name, own in closed.items() if own["rank"] == 1]
    assert missed and hit and outcome.exhibits == (*wrong, *narrow)
    surest = sorted(missed, key=lambda name: -closed[name]["confidence"])
    assert [one.title for one in wrong] == [f"pick {name}" for name in surest]
    closest = sorted(hit, key=lambda name: closed[name]["margin"])
    assert [one.title for one in narrow] == [f"pick {name}" for name in closest]


def test_an_exhibit_shows_query_choice_and_truth(outcome, picks):
    wrong = next(one for one in outcome.exhibits if one.group == "wrong item")
    row = next(r for r in outcome.records if f"pick {r['id']}" == wrong.title)
    captions = [caption for caption, _ in wrong.pictures]
    assert captions == [
        "PickRGB, whole", *(f"{view}, as seen" for view in VIEWS),
        f"chosen: {row['n3']['chosen']}", f"right: {row['item']}",
    ]  # fmt: skip
    shapes = [cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR).shape
              for _, data in wrong.pictures]  # fmt: skip
    assert shapes == [(100, 120, 3), *[(32, 32, 3)] * 3, (80, 60, 3), (80, 60, 3)]
    assert row["item"] in wrong.note and row["n3"]["chosen"] in wrong.note


def test_broken_pictures_are_left_out_and_noted(picks, models, work, tmp_path, outcome):
    root = shutil.copytree(picks, tmp_path / "picks")
    view = root / "Picks" / "test-12-0" / "OnArmLowRGB.jpg"
    reference = root / "Reference_Images" / "P13" / "1.jpg"
    for path in (view, reference):
        path.write_bytes(path.read_bytes()[:200])
    annotation = root / "Picks" / "test-14-0" / "annotation.json"
    annotation.write_text("{")
    request = Request(root, models, work=work, broken=BrokenFiles(limit=0.2))
    made = evaluate(request)
    noted = {entry.path for entry in request.broken.entries}
    assert noted == {str(view), str(reference), str(annotation.parent)}
    assert made.samples == 12 and len(made.records) == 11
    assert made.figures["picks"]["broken"] == 1 and made.figures["picks"]["closed"] == 6
    groups = {row["id"]: row["group"] for row in made.records}
    assert groups["test-12-0"] == "broken"
    counts = {row["item"]: row["references"] for row in made.records if "references" in row}
    assert counts["P13"] == 1 and counts["P12"] == 2
    # what is not touched answers as before
    before = {row["id"]: row["n1"] for row in outcome.records}
    same = [row for row in made.records if row.get("n1", {"chosen": "P13"})["chosen"] != "P13"]
    assert len(same) > 4
    for row in same:
        assert row["n1"]["chosen"] == before[row["id"]]["chosen"]
        assert row["n1"]["similarity"] == pytest.approx(before[row["id"]]["similarity"], abs=1e-5)
    strict = Request(root, models, work=work, broken=BrokenFiles(limit=0.001))
    with pytest.raises(DatasetError, match="cannot be used"):
        evaluate(strict)


def test_broken_pictures_do_not_stop_the_nearest_protocol(picks, models, work, tmp_path):
    root = shutil.copytree(picks, tmp_path / "picks")
    for view in (*VIEWS, "FarTrayRGB"):
        (root / "Picks" / "test-12-0" / f"{view}.jpg").write_bytes(b"no picture")
    options = {"protocol": "nearest"}
    request = Request(root, models, work=work, broken=BrokenFiles(limit=0.5), options=options)
    made = evaluate(request)
    assert len(request.broken.entries) == 4
    assert made.figures["picks"]["broken"] == 1
    assert made.figures["recall_at_1_nearest"]["n"] == 11


def test_released_lists_set_the_galleries_of_the_released_count(picks, models, work, tmp_path):
    tree, labels = {}, {}
    for pick in read_identification(picks, "test").picks[:4]:
        entries = [(name, turn) for name in ("P12", "P13") for turn in (1, 2)]
        labels[pick.pick_id] = pick.item_id
        tree[pick.pick_id] = {
            "pickimg_paths": ["PickRGB.jpg"],
            "ref_id": pick.item_id,
            "ref_gallary_paths": [f"{name}/{turn}.jpg" for name, turn in entries],
            "ref_gallary_ids": [name for name, _ in entries],
        }
    (tmp_path / "all_test_data.json").write_text(json.dumps(tree))
    (tmp_path / "all_labels.json").write_text(json.dumps(labels))
    level = evaluate(Request(picks, models, work=work, options={"index": tmp_path})).figures[
        "image_level"
    ]
    assert level["index_files"]["one_view"] == 4
    figure = level["recall_at_5_n1"]
    assert figure["n"] == 4  # two items of two images: 4 + 4 columns
    assert level["recall_at_1_n1"]["value"] == level["recall_at_2_n1"]["value"]
    assert (
        "released index files" in level["protocol"] and level["plain"]["recall_at_1_n1"]["n"] == 8
    )


@pytest.mark.parametrize("options", [{"protocol": "closest"}, {"galleries": "none"}])
def test_an_option_that_is_not_there_is_refused(picks, models, options):
    with pytest.raises(ConfigError, match="must be"):
        evaluate(Request(picks, models, options=options))


def test_a_manifest_without_any_reference_is_answered_with_nothing(picks, models, work, tmp_path):
    root = shutil.copytree(picks, tmp_path / "picks")
    (root / "Picks" / "test-16-0" / "container.json").write_text(json.dumps({"P16": {}}))
    made = evaluate(Request(root, models, work=work))
    row = next(row for row in made.records if row["id"] == "test-16-0")
    assert row == {"id": "test-16-0", "group": "no_reference", "item": "P16"}
    for data in made.files.values():
        rows = list(csv.DictReader(io.StringIO(data.decode())))
        assert [one["testcase"] for one in rows] == [one["id"] for one in made.records]
        empty = next(one for one in rows if one["testcase"] == "test-16-0")
        assert (empty["predicted-fnsku"], empty["effective-manifest"]) == ("", "0")


@pytest.mark.parametrize("protocol", ["item", "nearest"])
def test_an_encoder_of_others_is_measured_as_our_own(picks, tmp_path, protocol):
    graph = small_foreign.flat(tmp_path / "x.onnx")
    stated = {**small_foreign.STATED, "l2": True}
    options = {"encoder": graph, "encoder_preprocess": stated, "protocol": protocol}
    made = evaluate(Request(picks, graph, options=options))
    assert list(made.networks) == ["x.onnx"] and set(made.files) == {"output.csv"}
    assert made.figures["picks"]["closed"] == 8
    assert "bicubic" in made.figures["scoring"]["preparation"]
    rate = made.figures["peers"]["output.csv"]["id_retrieval_rate"]
    assert rate == printed_rate(made.files["output.csv"])
    if protocol == "item":
        assert made.figures["recall_at_5_n1"]["value"] == 1.0
        assert "recall_at_1_n3" not in made.figures
        assert "names none" in made.figures["calibration"]["scale"]
    captions = {caption for one in made.exhibits for caption, _ in one.pictures}
    assert "PickRGB, whole" in captions and "PickRGB, as seen" not in captions

# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Recordings become data sets: who is believed, what is left out, how scenes are divided."""

import json

import colour_cell
import numpy as np
import pytest

from robollm_core.data import rostypes
from robollm_core.data.armbench_defects import read_defects
from robollm_core.data.armbench_identification import read_identification
from robollm_core.data.armbench_segmentation import read_split
from robollm_core.data.bagwriter import BagWriter, Topic
from robollm_core.data.site import SiteOrder, write_site
from robollm_core.errors import BagError, ConfigError, DatasetError, OutputError
from robollm_core.images import read_image

IMAGES = Topic("/tote_camera/image/compressed", rostypes.COMPRESSED)
MANIFESTS = Topic("/container/manifest", rostypes.STRING, latched=True)
TRUTHS = Topic("/ground_truth", rostypes.STRING)
PICKS = Topic("/cell/pick/event", rostypes.STRING)
SECOND = 10**9


def text(tree):
    return rostypes.make(rostypes.STRING, data=tree if isinstance(tree, str) else json.dumps(tree))


def record(path, containers=5, frames=2, truth=True, pick=None, products=None):
    """Frames of some containers one after the other; a manifest comes before its frames."""
    given = products or colour_cell.write_references(path.parent)
    stamps = []
    with BagWriter(path, [MANIFESTS, IMAGES, TRUTHS, PICKS]) as bag:
        for number in range(containers * frames):
            stamp = (number + 2) * SECOND
            if number % frames == 0:
                manifest = colour_cell.manifest_text(given, f"T-{number // frames}")
                bag.write(MANIFESTS.name, stamp - 5, text(manifest))
            image = colour_cell.image_message(colour_cell.draw_tote(number), stamp)
            bag.write(IMAGES.name, stamp, image)
            if truth:
                bag.write(TRUTHS.name, stamp, text(colour_cell.truth(stamp)))
            if pick:
                bag.write(PICKS.name, stamp + 5, text(pick(stamp, f"T-{number // frames}")))
            stamps.append(stamp)
    return stamps


def event(stamp, container, **changes):
    sec, nanosec = divmod(stamp, SECOND)
    view = {"camera": "tote_camera", "stamp": {"sec": sec, "nanosec": nanosec}, "match": "exact"}
    x0, y0, x1, y1 = colour_cell.BOXES["lime"]
    tree = {
        "pick_id": f"P-{stamp}", "phase": "pre_pick", "container_id": container,
        "manifest_version": 1, "roi": {"x": x0, "y": y0, "w": x1 - x0, "h": y1 - y0},
        "item_id": "lime", "views": [view],
    }  # fmt: skip
    return {**tree, **changes}


def labels_file(path, frames):
    """A file of labels; frames: (stamp, complete, instances)."""
    tree = {"schema": "robollm.site_labels/1", "frames": []}
    for stamp, complete, instances in frames:
        sec, nanosec = divmod(stamp, SECOND)
        when = {"sec": sec, "nanosec": nanosec}
        tree["frames"].append(
            {"camera": "tote_camera", "stamp": when, "complete": complete, "instances": instances}
        )
    path.write_text(json.dumps(tree))
    return path


def make(tmp_path, **more):
    order = {"bags": (tmp_path / "cell.mcap",), **more}
    return write_site(SiteOrder(**order), tmp_path / "site")


def picks_of(tmp_path, splits=("train", "val", "test")):
    return [p for s in splits for p in read_identification(tmp_path / "site" / "picks", s).picks]


def why(summary):
    return {reason: each["count"] for reason, each in summary["left_out"].items()}


def test_every_labelled_instance_becomes_a_pick_whose_crop_shows_it(tmp_path):
    record(tmp_path / "cell.mcap")
    summary = make(tmp_path)
    picks = picks_of(tmp_path)
    assert len(picks) == summary["kept"]["picks"] == 30
    for pick in picks:
        assert pick.manifest == ("apple", "lime", "plum")
        (view,) = pick.views.values()
        image = read_image(view.path)
        mask = view.region.mask(image.shape[:2], "")
        x0, y0, x1, y1 = colour_cell.BOXES[pick.item_id]
        assert mask.sum() == (x1 - x0) * (y1 - y0)
        assert np.abs(image[mask].mean(0) - colour_cell.COLOURS[pick.item_id]).max() < 12
        assert image[~mask].mean() < 60  # there is some tote around it
    references = read_identification(tmp_path / "site" / "picks", "train").references
    assert sorted(references) == ["apple", "lime", "plum"]
    patch = read_image(references["plum"][0].path)  # the PNG became a JPEG
    assert np.abs(patch.mean((0, 1)) - colour_cell.COLOURS["plum"]).max() < 8


def test_totes_and_defects_are_read_back_by_their_readers(tmp_path):
    record(tmp_path / "cell.mcap")
    make(tmp_path)
    totes = [t for s in ("train", "val", "test") for t in read_split(tmp_path / "site/totes", s)]
    assert len(totes) == 10
    for tote in totes:
        tote.read()
        for truth in tote.truths:
            x0, y0, x1, y1 = colour_cell.BOXES[truth.item_id]
            rows, columns = np.nonzero(truth.mask())
            assert (columns.min(), rows.min()) == (x0, y0)
            assert (columns.max() + 1, rows.max() + 1) == (x1, y1)
    samples = read_defects(tmp_path / "site" / "defects", "train")
    assert {sample.label for sample in samples} == {"nominal"}


def test_no_container_is_in_two_splits(tmp_path):
    stamps = record(tmp_path / "cell.mcap", containers=6)
    summary = make(tmp_path)
    container = {stamp: index // 2 for index, stamp in enumerate(stamps)}
    seen = [
        {container[int(p.pick_id.split("-")[2])] for p in picks_of(tmp_path, [split])}
        for split in ("train", "val", "test")
    ]
    assert seen[0] | seen[1] | seen[2] == set(range(6))
    assert sum(map(len, seen)) == 6
    assert summary["split"]["items_of_train_seen_again"] == {"val": 3, "test": 3}


def test_too_few_scenes_are_refused_and_nothing_is_left(tmp_path):
    record(tmp_path / "cell.mcap", containers=2)
    with pytest.raises(DatasetError, match="3 splits need as many containers.*have 2.*test-share"):
        make(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cell.mcap", "references"]
    assert make(tmp_path, test_share=0.0)["split"]["test"]["picks"] == 0


def test_the_corrected_label_is_believed_before_the_truth_and_the_pick(tmp_path):
    stamps = record(tmp_path / "cell.mcap", pick=event)
    box = [8, 8, 32, 32]
    instances = [{"item_id": "plum", "bbox": box, "defect": "package_defect"}]
    path = labels_file(tmp_path / "l.json", [(stamps[0], False, instances), (stamps[1], True, [])])
    summary = make(tmp_path, labels=path)
    assert summary["labels"] == {"corrected": 2, "ground truth": 8}
    found = {}
    for pick in picks_of(tmp_path):
        found.setdefault(int(pick.pick_id.split("-")[2]), []).append(pick)
    (pick,) = found[stamps[0]]
    assert pick.item_id == "plum"
    (view,) = pick.views.values()
    image, edges = read_image(view.path), view.region.box_xyxy_px
    x0, y0, x1, y1 = (int(edge) for edge in edges)
    assert (x1 - x0, y1 - y0) == (32, 32)
    colour = image[y0:y1, x0:x1].mean((0, 1))
    assert np.abs(colour - colour_cell.COLOURS["apple"]).max() < 8  # what lies in that box
    assert stamps[1] not in found
    # the first frame is not complete; the second shows nothing, and says so
    assert summary["kept"]["totes"] == 9
    defects = [
        d for s in ("train", "val", "test") for d in read_defects(tmp_path / "site/defects", s)
    ]
    assert [d.label for d in defects].count("package_defect") == 1


def test_pick_events_label_the_picked_item_alone(tmp_path):
    record(tmp_path / "cell.mcap", truth=False, pick=event)
    summary = make(tmp_path)
    assert summary["labels"] == {"pick event": 10}
    assert {pick.item_id for pick in picks_of(tmp_path)} == {"lime"}
    assert summary["kept"] == {"scenes": 5, "picks": 10, "totes": 0, "defects": 0}
    assert why(summary) == {"frame for segmentation that is not labelled completely": 10}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"container_id": "T-9"}, "pick without a manifest"),
        ({"manifest_version": 7}, "pick without a manifest"),
        ({"item_id": "nobody"}, "pick of an item without a reference image"),
        ({"roi": {"x": 500, "y": 0, "w": 9, "h": 9}}, "instance that does not fit its frame"),
        ({"roi": {"x": 0, "y": 0, "w": 9, "h": 9}}, "instance too small or too hidden for a crop"),
        ({"roi": {"x": "left"}}, "pick event that cannot be read"),
        ({"roi": {}}, "frame without a label"),
        ({"item_id": ""}, "frame without a label"),
        ({"phase": "post_pick"}, "frame without a label"),
    ],
)
def test_picks_that_cannot_be_used_are_counted(tmp_path, changes, reason):
    bad = 4 * SECOND

    def pick(stamp, container):
        return event(stamp, container, **(changes if stamp == bad else {}))

    record(tmp_path / "cell.mcap", truth=False, pick=pick)
    summary = make(tmp_path)
    assert summary["kept"]["picks"] == 9
    assert why(summary)[reason] == 1
    assert all(str(bad) not in pick.pick_id for pick in picks_of(tmp_path))


def test_a_cancelled_pick_is_no_label(tmp_path):
    def pick(stamp, container):
        same = {"pick_id": "P-x"} if stamp < 4 * SECOND else {}
        return event(
            stamp, container, **same, **({"phase": "cancel"} if stamp == 3 * SECOND else {})
        )

    record(tmp_path / "cell.mcap", truth=False, pick=pick)
    summary = make(tmp_path)
    assert why(summary)["pick that was cancelled"] == 1
    assert summary["kept"]["picks"] == 8


def test_a_missing_or_broken_reference_is_listed(tmp_path):
    products = colour_cell.write_references(tmp_path)
    (tmp_path / "references" / "apple.png").unlink()
    (tmp_path / "references" / "lime.png").write_bytes(b"\x89PNG half")
    record(tmp_path / "cell.mcap", products=products)
    summary = make(tmp_path)
    left = summary["left_out"]
    assert why(summary)["pick of an item without a reference image"] == 20
    first = left["reference image that cannot be read"]["first"]
    assert {text.split(":")[0] for text in first} == {"apple", "lime"}
    assert {pick.item_id for pick in picks_of(tmp_path)} == {"plum"}
    assert summary["items"] == {"picked": 1, "with_references": 1}


def test_references_are_looked_for_where_one_says(tmp_path):
    record(tmp_path / "cell.mcap")
    (tmp_path / "references").rename(tmp_path / "elsewhere")
    assert make(tmp_path)["kept"]["picks"] == 0
    (tmp_path / "moved").mkdir()
    (tmp_path / "elsewhere").rename(tmp_path / "moved" / "references")
    order = SiteOrder(bags=(tmp_path / "cell.mcap",), references=tmp_path / "moved")
    assert write_site(order, tmp_path / "again")["kept"]["picks"] == 30


def test_a_broken_image_is_counted_and_the_others_kept(tmp_path):
    path = tmp_path / "cell.mcap"
    products = colour_cell.write_references(tmp_path)
    with BagWriter(path, [MANIFESTS, IMAGES, TRUTHS]) as bag:
        for number in range(6):
            stamp = (number + 2) * SECOND
            manifest = colour_cell.manifest_text(products, f"T-{number}")
            bag.write(MANIFESTS.name, stamp - 5, text("{" if number == 5 else manifest))
            image = colour_cell.image_message(colour_cell.draw_tote(), stamp)
            if number == 2:
                image = rostypes.make(
                    rostypes.COMPRESSED, header=image.header, format="jpeg", data=image.data[:-20]
                )
            bag.write(IMAGES.name, stamp, image)
            bag.write(TRUTHS.name, stamp, text(colour_cell.truth(stamp)))
    summary = make(tmp_path)
    assert why(summary) == {"frame that cannot be decoded": 1, "manifest that is refused": 1}
    assert summary["kept"]["totes"] == 5


def test_an_unreadable_bag_is_left_out_and_alone_is_refused(tmp_path):
    record(tmp_path / "cell.mcap")
    broken = tmp_path / "broken.mcap"
    broken.write_bytes((tmp_path / "cell.mcap").read_bytes()[:-200])
    with pytest.raises(BagError, match=r"broken\.mcap"):
        make(tmp_path, bags=(broken,))
    assert not (tmp_path / "site").exists()
    summary = make(tmp_path, bags=(broken, tmp_path / "cell.mcap"))
    assert why(summary)["bag that cannot be read"] == 1
    assert summary["kept"]["picks"] == 30


def test_without_any_label_the_ways_to_give_one_are_named(tmp_path):
    record(tmp_path / "cell.mcap", truth=False)
    with pytest.raises(
        DatasetError, match="(?s)--labels.*ground_truth.*pick events.*trust-answers"
    ):
        make(tmp_path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"instances": [{"item_id": "lime"}]}, r"frames\[0\].instances\[0\]"),
        ({"instances": [{"bbox": [1, 2, 3, 4]}]}, "item_id"),
        ({"instances": [{"item_id": "x", "bbox": [1, 2, 3, 4], "defect": "on_fire"}]}, "on_fire"),
        ({"instances": [{"item_id": "x", "bbox": [1, 2, 0, 0]}]}, "covers nothing"),
        ({"camera": 3}, "camera"),
        ({"stamp": {"sec": 1}}, "nanosec"),
        ({"more": 1}, "more"),
    ],
)
def test_labels_of_another_form_are_refused_at_their_place(tmp_path, change, said):
    record(tmp_path / "cell.mcap")
    path = labels_file(tmp_path / "l.json", [(2 * SECOND, False, [])])
    tree = json.loads(path.read_text())
    tree["frames"][0] |= change
    path.write_text(json.dumps(tree))
    with pytest.raises(DatasetError, match=rf"l\.json.*{said}"):
        make(tmp_path, labels=path)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"schema": "robollm.site_labels/1"}'])
def test_a_file_that_holds_no_labels_is_refused(tmp_path, content):
    (tmp_path / "l.json").write_text(content)
    with pytest.raises(DatasetError, match=r"l\.json"):
        make(tmp_path, labels=tmp_path / "l.json")


def test_a_frame_labelled_twice_is_refused(tmp_path):
    path = labels_file(tmp_path / "l.json", [(5, False, []), (5, True, [])])
    with pytest.raises(DatasetError, match="twice"):
        make(tmp_path, labels=path)


def test_a_label_of_no_frame_is_counted(tmp_path):
    record(tmp_path / "cell.mcap")
    path = labels_file(tmp_path / "l.json", [(77, False, [])])
    assert why(make(tmp_path, labels=path)) == {"label of a frame that is in no bag": 1}


def test_a_mask_of_another_size_is_counted_and_the_frame_trains_no_segmentation(tmp_path):
    stamps = record(tmp_path / "cell.mcap")
    bad = {"item_id": "lime", "segmentation": {"size": [2, 2], "counts": "04"}}
    good = {"item_id": "plum", "bbox": [96, 48, 24, 40]}
    path = labels_file(tmp_path / "l.json", [(stamps[0], True, [bad, good])])
    summary = make(tmp_path, labels=path)
    assert why(summary) == {
        "instance that does not fit its frame": 1,
        "frame for segmentation where an outline is missing": 1,
    }
    assert summary["kept"]["totes"] == 9
    found = [p.item_id for p in picks_of(tmp_path) if str(stamps[0]) in p.pick_id]
    assert found == ["plum"]


def test_item_ids_that_cannot_be_folders_write_nothing_outside(tmp_path):
    products = colour_cell.write_references(tmp_path)
    products[0]["product_id"] = "../../apple"
    record(tmp_path / "cell.mcap", products=products)
    summary = make(tmp_path)
    assert why(summary)["pick with an item id that cannot be the name of a folder"] == 30
    assert not (tmp_path / "site" / "picks" / "Picks").exists()
    assert not list(tmp_path.glob("apple")) and not list(tmp_path.parent.glob("apple"))


def test_scenes_without_picks_leave_every_split_some_picks(tmp_path):
    boxes = [{"item_id": "lime", "bbox": [56, 16, 32, 48]}]
    stamps = record(tmp_path / "cell.mcap", containers=12, frames=1, truth=False)
    frames = [(stamp, True, boxes if n < 3 else []) for n, stamp in enumerate(stamps)]
    summary = make(tmp_path, labels=labels_file(tmp_path / "l.json", frames))
    assert [summary["split"][part]["picks"] for part in ("train", "val", "test")] == [1, 1, 1]
    assert summary["split"]["train"]["totes"] == 9


def test_a_folder_that_holds_something_is_not_touched(tmp_path):
    record(tmp_path / "cell.mcap")
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "mine").write_text("x")
    with pytest.raises(OutputError, match="not empty"):
        make(tmp_path)
    assert [p.name for p in (tmp_path / "site").iterdir()] == ["mine"]
    assert not list(tmp_path.glob(".site*"))


@pytest.mark.parametrize(
    "wrong",
    [
        {"val_share": 0.0}, {"test_share": -0.1}, {"val_share": 0.6, "test_share": 0.4},
        {"val_share": float("nan")}, {"trust_answers": 0.5},
    ],
)  # fmt: skip
def test_orders_that_make_no_sense_are_refused(tmp_path, wrong):
    with pytest.raises(ConfigError):
        SiteOrder(bags=(tmp_path,), **wrong)


def test_the_same_seed_gives_the_same_bytes(tmp_path):
    record(tmp_path / "cell.mcap")
    order = SiteOrder(bags=(tmp_path / "cell.mcap",), seed=4)
    trees = []
    for name in ("one", "two"):
        write_site(order, tmp_path / name)
        files = sorted(p for p in (tmp_path / name).rglob("*") if p.is_file())
        trees.append({str(p.relative_to(tmp_path / name)): p.read_bytes() for p in files})
    assert trees[0] == trees[1]

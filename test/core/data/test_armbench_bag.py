# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""ARMBench picks become a recording and come back as the same picks."""

import hashlib
import json
import pickle
import tracemalloc

import cv2
import numpy as np
import pytest
import small_sets
from rosbags.highlevel import AnyReader
from rosbags.interfaces import QosDurability, QosReliability

from robollm_core.data import rostypes
from robollm_core.data.armbench_bag import (
    ALL_VIEWS,
    IMAGES,
    START_NS,
    PickBagOrder,
    region_tree,
    write_pick_bag,
)
from robollm_core.data.armbench_identification import read_identification
from robollm_core.data.bag import BagReader, ImageEvent, ManifestEvent, TruthEvent
from robollm_core.data.broken import BrokenFiles
from robollm_core.data.samples import Region, parse_region
from robollm_core.data.site import SiteOrder, write_site
from robollm_core.data.site_labels import pick_labels
from robollm_core.errors import ConfigError, DatasetError
from robollm_core.evaluation.cell import read_scenes
from robollm_core.manifests import parse_manifest

FIRST = IMAGES["PickRGB"].name


@pytest.fixture
def source(tmp_path):
    """Twelve test picks; P16 has no reference, P17 is on no manifest."""
    root = small_sets.write_picks(tmp_path / "armbench")
    annotate(root, "test-12-0", PickRGB={"bbox": [20, 15, 40.5, 60]})
    annotate(root, "test-12-1", PickRGB=None)
    mask = {"size": [100, 120], "counts": [120 * 20, 30] + [70, 30] * 9 + [120 * 80 - 1000 + 70]}
    mask["counts"][-1] = 100 * 120 - sum(mask["counts"][:-1])
    from pycocotools import mask as coco

    whole = coco.frPyObjects(mask, 100, 120)
    rle = {"size": [100, 120], "counts": whole["counts"].decode()}
    annotate(root, "test-13-0", PickRGB={"segmentation": rle})
    photo = root / "Picks/test-13-1/OnArmLowRGB.jpg"
    (root / "Picks/test-13-1/FarTrayRGB.jpg").write_bytes(photo.read_bytes())
    (root / "Picks/test-14-0/ToteWallRGB.jpg").unlink()
    return root


def annotate(root, pick, **views):
    path = root / "Picks" / pick / "annotation.json"
    tree = json.loads(path.read_text())
    for view, outline in views.items():
        if outline is None:
            del tree[view]
        else:
            tree[view] = outline
    path.write_text(json.dumps(tree))


def record(source, out, broken=None, **more):
    return write_pick_bag(PickBagOrder(source, **more), out, broken or BrokenFiles())


def messages(path, topic):
    with AnyReader([path], default_typestore=rostypes.typestore()) as reader:
        chosen = [c for c in reader.connections if c.topic == topic]
        return [
            (log_ns, reader.deserialize(data, c.msgtype))
            for c, log_ns, data in reader.messages(chosen)
        ]


def events_of(path):
    return [json.loads(m.data) for _, m in messages(path, "/cell/pick/event")]


def test_every_image_is_the_file_byte_for_byte(tmp_path, source):
    counts = record(source, tmp_path / "x.mcap")
    assert counts.picks == 12
    assert counts.images == 36  # one view more, one less
    for view in ALL_VIEWS:
        files = [
            source / "Picks" / f"test-{number}-{turn}" / f"{view}.jpg"
            for number in range(12, 18)
            for turn in range(2)
        ]
        seen = messages(tmp_path / "x.mcap", IMAGES[view].name)
        assert [bytes(m.data) for _, m in seen] == [f.read_bytes() for f in files if f.is_file()]
        assert {m.format for _, m in seen} == {"jpeg"}


def test_the_same_picks_give_the_same_bytes(tmp_path, source):
    digests = []
    for name in ("a", "b"):
        record(source, tmp_path / name / "x.mcap")
        digests.append(hashlib.sha256((tmp_path / name / "x.mcap").read_bytes()).hexdigest())
    assert digests[0] == digests[1]


def test_stamps_begin_at_a_fixed_moment_and_keep_the_period(tmp_path, source):
    record(source, tmp_path / "x.mcap", limit=3, period_s=2.5)
    seen = messages(tmp_path / "x.mcap", FIRST)
    assert [rostypes.stamp_ns(m) for _, m in seen] == [
        START_NS + turn * 2_500_000_000 for turn in range(3)
    ]
    assert all(log_ns == rostypes.stamp_ns(m) for log_ns, m in seen)
    assert {m.header.frame_id for _, m in seen} == {"pick"}


def test_a_manifest_comes_before_its_pick_and_only_when_it_is_another(tmp_path, source):
    container = source / "Picks/test-15-0/container.json"
    container.write_text(json.dumps({"P15": {"text": "a box", "weight": 0.3, "quantity": 2}}))
    counts = record(source, tmp_path / "x.mcap")
    assert counts.manifests == 3
    with BagReader(tmp_path / "x.mcap", FIRST) as reader:
        kinds = [type(event) for event in reader.events()]
        reader_events = list(reader.events())
    assert kinds[:2] == [ManifestEvent, ImageEvent]
    texts = [e.text for e in reader_events if isinstance(e, ManifestEvent)]
    usual, alone = (parse_manifest(text, "test") for text in texts[:2])
    assert [item.item_id for item in usual.items] == ["P12", "P13", "P14", "P15"]
    (item,) = alone.items
    assert (item.text, item.weight_kg, item.quantity) == ("a box", 0.3, 2)
    for item in usual.items:
        assert item.reference_images == tuple(
            f"Reference_Images/{item.item_id}/{turn}.jpg" for turn in (1, 2)
        )
        assert all((source / path).is_file() for path in item.reference_images)
    assert len(texts) == 3
    assert texts[0] == texts[2]


def test_the_topics_say_how_a_player_has_to_offer_them(tmp_path, source):
    record(source, tmp_path / "x.mcap", limit=1)
    with AnyReader([tmp_path / "x.mcap"]) as reader:  # types as the file itself defines them
        offered = {c.topic: (c.msgtype, c.ext.offered_qos_profiles[0]) for c in reader.connections}
    assert set(offered) == {
        "/cell/container/manifest", "/cell/ground_truth", "/cell/pick/event",
        "/cell/pick/image/compressed", "/cell/on_arm_low/image/compressed",
        "/cell/tote_wall/image/compressed", "/cell/far_tray/image/compressed",
    }  # fmt: skip
    kind, manifest = offered["/cell/container/manifest"]
    assert kind == "std_msgs/msg/String"
    assert manifest.durability is QosDurability.TRANSIENT_LOCAL
    kind, image = offered[FIRST]
    assert kind == "sensor_msgs/msg/CompressedImage"
    assert image.durability is QosDurability.VOLATILE
    assert {qos.reliability for _, qos in offered.values()} == {QosReliability.RELIABLE}


def test_events_say_what_was_picked_and_where(tmp_path, source):
    record(source, tmp_path / "x.mcap")
    events = events_of(tmp_path / "x.mcap")
    before = {e["pick_id"]: e for e in events if e["phase"] == "pre_pick"}
    after = {e["pick_id"]: e for e in events if e["phase"] == "post_pick"}
    assert len(before) == len(after) == 12
    assert len({e["event_id"] for e in events}) == 24
    assert before["test-12-0"]["roi"] == {"x": 20, "y": 15, "w": 41, "h": 60}  # of a box
    assert before["test-12-1"]["roi"] == {"x": 0, "y": 0, "w": 120, "h": 100}  # of nothing
    outline = np.reshape(
        json.loads((source / "Picks/test-14-1/annotation.json").read_text())["PickRGB"], (-1, 2)
    )
    x, y = outline.min(0)
    width, height = outline.max(0) - outline.min(0) + 1
    assert before["test-14-1"]["roi"] == {"x": x, "y": y, "w": width, "h": height}
    stamps = [rostypes.stamp_ns(m) for _, m in messages(tmp_path / "x.mcap", FIRST)]
    for number, event in enumerate(before.values()):
        moment, labels = pick_labels(json.dumps(event))
        assert (moment.camera, moment.stamp_ns) == ("pick", stamps[number])
        assert labels.instances[0].item_id == f"P{12 + number // 2}"
    assert [v["view"] for v in after["test-13-1"]["views"]] == list(ALL_VIEWS[1:])
    assert [v["view"] for v in after["test-14-0"]["views"]] == ["OnArmLowRGB"]


def test_truth_is_said_where_the_outline_is_known_and_nothing_more(tmp_path, source):
    counts = record(source, tmp_path / "x.mcap")
    assert counts.truths == 10  # not of a box, not of nothing
    with BagReader(tmp_path / "x.mcap", FIRST) as reader:
        truths = [e for e in reader.events() if isinstance(e, TruthEvent)]
        _, scenes = read_scenes(reader)
    assert {e.tree["complete"] for e in truths} == {False}
    pick = read_identification(source, "test").picks[2]
    expected = pick.views["PickRGB"].region.mask((100, 120), "")
    scene = scenes[START_NS + 2 * 10_000_000_000]
    (instance,) = scene.instances
    assert (instance.item_id, instance.defect) == ("P13", "")
    assert np.array_equal(instance.mask, expected)
    assert scene.item_ids == {"P12", "P13", "P14", "P15"}


def test_items_without_a_reference_are_off_the_manifest_and_named(tmp_path, source):
    counts = record(source, tmp_path / "x.mcap")
    assert counts.unreferenced == {"P16"}
    event = events_of(tmp_path / "x.mcap")[0]
    assert list(event["unreferenced"]) == ["P16"]


def plain(root, split):
    """Every pick of a split with all that must not change on the way."""
    samples = read_identification(root, split, views=ALL_VIEWS)
    picks = {
        pick.pick_id: (
            pick.item_id,
            sorted(pick.manifest),
            {view: (p.path.read_bytes(), p.region) for view, p in pick.views.items()},
            json.loads((root / "Picks" / pick.pick_id / "container.json").read_text()),
        )
        for pick in samples.picks
    }
    references = {
        item: [picture.path.read_bytes() for picture in own]
        for item, own in samples.references.items()
    }
    return picks, references


def complete(root):
    """Give every product all that a manifest carries, as the simulator does."""
    for path in (root / "Picks").glob("*/container.json"):
        tree = json.loads(path.read_text())
        known = {"text": "a box", "weight": 0.25, "dimensions": [0.1, 0.2, 0.05], "quantity": 2}
        path.write_text(json.dumps(dict.fromkeys(tree, known)))


def test_a_bag_of_picks_comes_back_as_the_same_picks(tmp_path, source):
    complete(source)
    record(source, tmp_path / "x.mcap")
    order = SiteOrder((tmp_path / "x.mcap",), references=source, val_share=0.0, test_share=1.0)
    summary = write_site(order, tmp_path / "site")
    assert summary["kept"] == {"scenes": 1, "picks": 12, "totes": 0, "defects": 0}
    assert summary["left_out"] == {}
    there, references = plain(source, "test")
    back, again = plain(tmp_path / "site/picks", "test")
    assert back == there
    assert again == references
    assert {view for _, _, views, _ in back.values() for view in views} == set(ALL_VIEWS)


def test_picks_are_still_divided_when_some_are_to_train(tmp_path, source):
    for number, path in enumerate(sorted((source / "Picks").glob("test-*/container.json"))):
        tree = json.loads(path.read_text())
        path.write_text(json.dumps({**tree, "P12": {"text": str(number)}}))
    record(source, tmp_path / "x.mcap")
    write_site(SiteOrder((tmp_path / "x.mcap",), references=source), tmp_path / "site")
    parts = [set(plain(tmp_path / "site/picks", s)[0]) for s in ("train", "val", "test")]
    assert all(parts)
    assert sum(map(len, parts)) == len(set.union(*parts)) == 12


def test_two_bags_with_a_pick_of_the_same_name_keep_both(tmp_path, source):
    for name in ("a.mcap", "b.mcap"):
        record(source, tmp_path / name, limit=2)
    bags = (tmp_path / "a.mcap", tmp_path / "b.mcap")
    write_site(SiteOrder(bags, references=source, val_share=0.0, test_share=1.0), tmp_path / "s")
    assert set(plain(tmp_path / "s/picks", "test")[0]) == {
        "test-12-0", "test-12-1", "02-test-12-0", "02-test-12-1",
    }  # fmt: skip


def break_jpeg(path):
    path.write_bytes(path.read_bytes()[:-200])


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (lambda pick: break_jpeg(pick / "PickRGB.jpg"), "truncated"),
        (lambda pick: break_jpeg(pick / "ToteWallRGB.jpg"), "truncated"),
        (lambda pick: (pick / "PickRGB.jpg").unlink(), "has no PickRGB.jpg"),
        (lambda pick: (pick / "PickRGB.jpg").write_bytes(
            cv2.imencode(".png", np.zeros((100, 120, 3), np.uint8))[1].tobytes()), "no JPEG"),
        (lambda pick: (pick / "container.json").write_text("{"), "container.json"),
        (lambda pick: (pick / "container.json").write_text(
            json.dumps({"P12": {"text": "x" * 70_000}})), "too long"),
        (lambda pick: (pick / "annotation.json").unlink(), "annotation.json"),
        (lambda pick: annotate(pick.parents[1], pick.name, PickRGB={"bbox": [300, 0, 9, 9]}),
         "lies outside"),
        (lambda pick: annotate(pick.parents[1], pick.name,
                               PickRGB=[[300, 0, 310, 0, 310, 9]]), "lies outside"),
    ],
)  # fmt: skip
def test_a_broken_pick_is_listed_and_the_others_are_written(tmp_path, source, fault, reason):
    fault(source / "Picks" / "test-14-1")
    broken = BrokenFiles()
    assert record(source, tmp_path / "x.mcap", broken).picks == 11
    (entry,) = broken.entries
    assert entry.path.endswith("Picks/test-14-1")
    assert reason in entry.reason
    stamps = [rostypes.stamp_ns(m) for _, m in messages(tmp_path / "x.mcap", FIRST)]
    assert np.diff(stamps).tolist() == [10_000_000_000] * 10  # no hole where it was


def test_a_broken_reference_is_listed_and_off_the_manifest(tmp_path, source):
    break_jpeg(source / "Reference_Images/P13/1.jpg")
    broken = BrokenFiles()
    record(source, tmp_path / "x.mcap", broken)
    assert [entry.path for entry in broken.entries] == [str(source / "Reference_Images/P13/1.jpg")]
    _, message = messages(tmp_path / "x.mcap", "/cell/container/manifest")[0]
    by_name = {i.item_id: i for i in parse_manifest(message.data, "test").items}
    assert by_name["P13"].reference_images == ("Reference_Images/P13/2.jpg",)


def test_nothing_is_left_when_no_pick_can_be_read(tmp_path, source):
    for path in (source / "Picks").glob("*/PickRGB.jpg"):
        path.unlink()
    with pytest.raises(DatasetError, match=r"no pick of .* can be recorded; .*PickRGB.jpg"):
        record(source, tmp_path / "x.mcap")
    assert not (tmp_path / "x.mcap").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["armbench"]


@pytest.mark.parametrize("wrong", [{"limit": -1}, {"period_s": 0.0}, {"period_s": 1e9}])
def test_numbers_out_of_range_are_refused(tmp_path, wrong):
    with pytest.raises(ConfigError, match="--limit must be"):
        PickBagOrder(tmp_path, **wrong)


@pytest.mark.parametrize(
    "region",
    [
        None,
        Region(box_xyxy_px=(0.1, 0.7, 33.3, 20.2)),
        Region(polygons=((1.5, 2.0, 3.0, 4.25, 5.0, 0.1), (9.0, 9.0, 8.0, 8.0, 9.0, 8.0))),
        Region(rle=(10, 20, "abc")),
    ],
)
def test_a_region_is_read_back_as_it_was(region):
    tree = json.loads(json.dumps(region_tree(region)))
    assert parse_region(tree, "test") == region


@pytest.mark.slow
def test_memory_does_not_grow_with_the_picks(tmp_path):
    root = small_sets.write_picks(tmp_path / "armbench")
    names = [f"pick-{number}" for number in range(200)]
    for name in names:
        (root / "Picks" / name).symlink_to(root / "Picks" / "test-12-0")
    (root / "train-test-split.pickle").write_bytes(pickle.dumps({"testset": names}))
    peaks = []
    for limit in (2, 50, 200):  # the first run loads what stays loaded
        tracemalloc.start()
        record(root, tmp_path / "x.mcap", limit=limit)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert (tmp_path / "x.mcap").stat().st_size > 3 * peaks[2]
    assert peaks[2] < 1.2 * peaks[1]

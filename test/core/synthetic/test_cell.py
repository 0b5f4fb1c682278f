# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
import json
import resource
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from robollm_core.data import rostypes
from robollm_core.data.bag import BagReader, ImageEvent, ManifestEvent, TruthEvent, read_topics
from robollm_core.errors import ConfigError, OutputError
from robollm_core.evaluation.cell import read_scenes
from robollm_core.images import decode_image
from robollm_core.manifests import parse_manifest
from robollm_core.synthetic import containers
from robollm_core.synthetic.cell import CAMERA, FRAME_NS, live_cell, write_bag
from robollm_core.types import DEFECT_LABELS

FRAMES = 8
TRUTH, PICK, MANIFEST = "/ground_truth", "/pick/event", "/container/manifest"


@pytest.fixture(autouse=True, scope="module")
def small_stock():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(containers, "_STOCK", 8)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory, small_stock):
    out = tmp_path_factory.mktemp("cell") / "bag"
    write_bag(out, 4, images=FRAMES)
    return out


@pytest.fixture(scope="module")
def events(folder):
    with BagReader(folder / "cell.mcap") as bag:
        return list(bag.events())


def texts(folder, topic):
    topics = read_topics(folder / "cell.mcap", {topic: rostypes.STRING})
    return [(log_ns, json.loads(message.data)) for _, log_ns, message in topics]


def tree(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in Path(folder).rglob("*")
        if path.is_file()
    }


def test_each_frame_has_its_truth_and_its_manifest(events, folder):
    frames = [event for event in events if isinstance(event, ImageEvent)]
    stamps = [frame.stamp_ns for frame in frames]
    assert len(frames) == FRAMES
    assert (np.diff(stamps) == FRAME_NS).all()
    assert all(frame.log_ns == frame.stamp_ns for frame in frames)
    assert {frame.camera for frame in frames} == {CAMERA}
    assert isinstance(events[0], ManifestEvent)
    assert sum(isinstance(event, TruthEvent) for event in events) == FRAMES
    with BagReader(folder / "cell.mcap") as bag:
        images, truths = read_scenes(bag)
    assert list(images) == list(truths) == stamps


def test_the_truth_fits_the_picture(folder):
    with BagReader(folder / "cell.mcap") as bag:
        images, truths = read_scenes(bag)
    for stamp, truth in truths.items():
        frame = images[stamp].decode()
        covered = np.zeros(frame.image_rgb.shape[:2], int)
        for instance in truth.instances:
            assert instance.mask.shape == covered.shape
            assert instance.defect in DEFECT_LABELS
            assert np.count_nonzero(instance.mask) >= 30
            covered += instance.mask
        assert covered.max() == 1  # visible pixels belong to one item


def test_boxes_are_those_of_the_masks(folder):
    with BagReader(folder / "cell.mcap") as bag:
        _, truths = read_scenes(bag)
    for stamp, told in texts(folder, TRUTH):
        for instance, each in zip(truths[stamp].instances, told["instances"], strict=True):
            rows, columns = np.nonzero(instance.mask)
            x, y, w, h = each["bbox"]
            assert (x, y, x + w, y + h) == (
                columns.min(), rows.min(), columns.max() + 1, rows.max() + 1,
            )  # fmt: skip


def test_what_is_picked_is_gone_from_the_next_frame(folder):
    truths = dict(texts(folder, TRUTH))
    stamps = sorted(truths)
    picks = texts(folder, PICK)
    assert len(picks) == FRAMES
    followed = 0
    for (log_ns, pick), stamp, following in zip(picks, stamps, stamps[1:], strict=False):
        assert stamp < log_ns < following
        (view,) = pick["views"]
        assert view["stamp"]["sec"] * 10**9 + view["stamp"]["nanosec"] == stamp
        before = truths[stamp]["instances"]
        (gone,) = [
            each for each in before
            if each["bbox"] == list(pick["roi"].values()) and each["item_id"] == pick["item_id"]
        ]  # fmt: skip
        if picks[stamps.index(following)][1]["container_id"] == pick["container_id"]:
            after = {each["instance"] for each in truths[following]["instances"]}
            assert gone["instance"] not in after
            followed += 1
    assert followed >= 3


def test_the_manifest_follows_the_picks(folder):
    manifests = texts(folder, MANIFEST)
    picks = texts(folder, PICK)
    for (_, first), (_, second), (_, pick) in zip(manifests, manifests[1:], picks, strict=False):
        if first["container_id"] != second["container_id"]:
            continue
        assert second["version"] == first["version"] + 1
        assert pick["manifest_version"] == first["version"]
        moved = {
            one["product_id"]: other["picked"] - one["picked"]
            for one, other in zip(first["products"], second["products"], strict=True)
        }
        listed = pick["item_id"] in moved
        assert sum(moved.values()) == int(listed)
        assert not listed or moved[pick["item_id"]] == 1


def test_the_manifest_is_one_and_its_references_are_beside_the_bag(folder):
    for _, told in texts(folder, MANIFEST):
        manifest = parse_manifest(json.dumps(told), "the bag")
        assert manifest.container_id == told["container_id"]
        for item in manifest.items:
            assert len(item.reference_images) == 6
            for path in item.reference_images:
                assert not Path(path).is_absolute()
                decode_image((folder / path).read_bytes(), path)


def test_the_sidecar_counts_what_is_there(folder, events):
    facts = json.loads((folder / "cell.json").read_text())
    truths = [tree for _, tree in texts(folder, TRUTH)]
    assert facts["seed"] == 4
    assert facts["frames"] == FRAMES
    assert facts["picks"] == FRAMES
    assert facts["instances"] == sum(len(each["instances"]) for each in truths)
    assert facts["damaged"] == sum(
        instance["defect"] == "package_defect" for each in truths for instance in each["instances"]
    )
    assert set(facts["floor"]) == {"found", "recall_at_1"}
    assert all(0 < value < 1 for value in facts["floor"].values())
    assert sorted(path.name for path in folder.iterdir()) == [
        "cell.json", "cell.mcap", "references",
    ]  # fmt: skip
    assert [path.name for path in folder.parent.iterdir()] == ["bag"]


def test_forty_frames_fit_into_25_megabytes(folder):
    frames = (folder / "cell.mcap").stat().st_size / FRAMES * 40
    references = sum(path.stat().st_size for path in folder.rglob("*.jpg")) / 8 * 24 * 2
    assert frames + references < 25e6


def test_same_seed_same_bytes_and_raw_is_the_same_picture(folder, tmp_path):
    write_bag(tmp_path / "one" / "cell.mcap", 4, images=2)
    write_bag(tmp_path / "two", 4, images=2)
    one, two = tree(tmp_path / "one"), tree(tmp_path / "two")
    assert one == two
    assert one["references/" + next(iter((folder / "references").iterdir())).name + "/1.jpg"]
    write_bag(tmp_path / "raw", 4, images=1, raw=True)
    with BagReader(tmp_path / "raw" / "cell.mcap") as bag, BagReader(folder / "cell.mcap") as jpeg:
        assert bag.image_topic == f"/{CAMERA}/image"
        assert jpeg.image_topic == f"/{CAMERA}/image/compressed"
        raw, first = (
            next(e for e in each.events() if isinstance(e, ImageEvent)).decode()
            for each in (bag, jpeg)
        )
    assert (raw.image_rgb == first.image_rgb).all()


def test_a_full_disk_leaves_no_half_written_reference(tmp_path):
    old, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # no file may grow beyond 1 kB: a write fails as it would on a full disk
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, hard))
    try:
        with pytest.raises(OutputError, match="references/.*File too large"):
            next(live_cell(tmp_path, 5))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (old, hard))
    assert tree(tmp_path) == {}


def test_a_live_cell_goes_on_when_a_tote_is_empty(tmp_path):
    frames = list(islice(live_cell(tmp_path, 5), 26))
    names = [json.loads(frame.manifest)["container_id"] for frame in frames if frame.manifest]
    assert len(set(names)) >= 2
    assert len({frame.jpeg for frame in frames}) == len(frames)
    for name, following in zip(names, names[1:], strict=False):
        assert following >= name


def test_bad_wishes_are_refused_and_leave_nothing(tmp_path):
    with pytest.raises(ConfigError, match="--images"):
        write_bag(tmp_path / "bag", 0, images=0)
    with pytest.raises(ConfigError, match="--seed"):
        write_bag(tmp_path / "bag", -1, images=1)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        write_bag(tmp_path / "file" / "bag", 0, images=1)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]

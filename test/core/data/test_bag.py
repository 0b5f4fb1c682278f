# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Bags are read in order, and whatever is wrong with one is a BagError."""

import json
import random
import shutil

import numpy as np
import pytest
from colour_cell import draw_tote, image_message, truth, write_bag

from robollm_core.data import rostypes
from robollm_core.data.bag import BagReader, ImageEvent, ManifestEvent, TruthEvent, read_topics
from robollm_core.data.bagwriter import BagWriter, Topic
from robollm_core.errors import BagError, ImageError

IMAGES = Topic("/tote_camera/image/compressed", rostypes.COMPRESSED)
TEXTS = Topic("/container/manifest", rostypes.STRING)


def kinds(path):
    with BagReader(path) as bag:
        return [type(event) for event in bag.events()]


@pytest.mark.parametrize("raw", [True, False])
def test_events_come_in_order_with_verbatim_headers(tmp_path, raw):
    path = write_bag(tmp_path / "cell.mcap", frames=3, raw=raw)
    with BagReader(path) as bag:
        assert bag.frames == 3
        assert bag.image_topic.startswith("/tote_camera/image")
        assert bag.image_type == (rostypes.IMAGE if raw else rostypes.COMPRESSED)
        events = list(bag.events())
    assert [type(event) for event in events] == [ManifestEvent] + [ImageEvent, TruthEvent] * 3
    assert json.loads(events[0].text)["container_id"] == "T-1"
    for index, event in enumerate(events[1::2]):
        stamp = (index + 2) * 10**9 + index
        assert (event.stamp_ns, event.log_ns, event.camera) == (stamp, stamp, "tote_camera")
        kind = rostypes.IMAGE if raw else rostypes.COMPRESSED
        again = rostypes.typestore().deserialize_cdr(event.serialised, kind)
        assert rostypes.stamp_ns(again) == stamp
        frame = event.decode()
        assert (frame.stamp_ns, frame.camera) == (stamp, "tote_camera")
        difference = np.abs(frame.image_rgb.astype(int) - draw_tote(index))
        assert difference.max() == 0 if raw else difference.mean() < 8
    assert events[2].tree == truth(2 * 10**9)


def test_a_rosbag2_folder_is_a_bag_too(tmp_path):
    from rosbags.rosbag2 import StoragePlugin, Writer

    for plugin in (StoragePlugin.MCAP, StoragePlugin.SQLITE3):
        folder = tmp_path / plugin.name
        store = rostypes.typestore()
        with Writer(folder, version=9, storage_plugin=plugin) as writer:
            connection = writer.add_connection("/cam", rostypes.IMAGE, typestore=store)
            message = image_message(draw_tote(), 5, raw=True)
            writer.write(connection, 7, store.serialize_cdr(message, rostypes.IMAGE))
        with BagReader(folder) as bag:
            (event,) = bag.events()
            np.testing.assert_array_equal(event.decode().image_rgb, draw_tote())


def test_at_one_instant_manifests_come_first_and_truth_last(tmp_path):
    path = tmp_path / "cell.mcap"
    truths = Topic("/ground_truth", rostypes.STRING)
    with BagWriter(path, [truths, IMAGES, TEXTS]) as bag:
        bag.write(truths.name, 5, rostypes.make(rostypes.STRING, data="{}"))
        bag.write(IMAGES.name, 5, image_message(draw_tote(), 5))
        bag.write(TEXTS.name, 5, rostypes.make(rostypes.STRING, data="m"))
    assert kinds(path) == [ManifestEvent, ImageEvent, TruthEvent]


def test_no_manifest_no_truth_other_topics(tmp_path):
    path = tmp_path / "cell.mcap"
    other = Topic("/chatter", rostypes.STRING)
    with BagWriter(path, [IMAGES, other]) as bag:
        bag.write(other.name, 1, rostypes.make(rostypes.STRING, data="hello"))
        bag.write(IMAGES.name, 2, image_message(draw_tote(), 2))
    assert kinds(path) == [ImageEvent]


def test_missing_bag(tmp_path):
    with pytest.raises(BagError, match=r"none\.mcap"), BagReader(tmp_path / "none.mcap"):
        pass


def test_empty_file_and_empty_bag(tmp_path):
    path = tmp_path / "a.mcap"
    path.write_bytes(b"")
    with pytest.raises(BagError, match="not a readable bag"), BagReader(path):
        pass
    for topics in ([], [IMAGES]):
        with BagWriter(path, topics):
            pass
        with pytest.raises(BagError, match="empty"), BagReader(path):
            pass
    (tmp_path / "folder").mkdir()
    with pytest.raises(BagError), BagReader(tmp_path / "folder"):
        pass


def test_bag_without_the_topic(tmp_path):
    path = tmp_path / "a.mcap"
    with BagWriter(path, [TEXTS]) as bag:
        bag.write(TEXTS.name, 1, rostypes.make(rostypes.STRING, data="x"))
    with pytest.raises(BagError, match=r"no image topic.*Its topics: /container/manifest"):
        kinds(path)
    with BagWriter(path, [TEXTS, IMAGES]) as bag:
        bag.write(TEXTS.name, 1, rostypes.make(rostypes.STRING, data="x"))
    with pytest.raises(BagError, match="no image on its topic"):
        kinds(path)


def test_several_image_topics_need_a_choice(tmp_path):
    path = tmp_path / "a.mcap"
    second = Topic("/other/image", rostypes.IMAGE)
    with BagWriter(path, [IMAGES, second]) as bag:
        bag.write(IMAGES.name, 1, image_message(draw_tote(), 1))
        bag.write(second.name, 2, image_message(draw_tote(9), 2, raw=True))
    with pytest.raises(BagError, match="several image topics"):
        kinds(path)
    with pytest.raises(BagError, match="no image topic /third"), BagReader(path, "/third"):
        pass
    with BagReader(path, "/other/image") as bag:
        (event,) = bag.events()
        assert event.stamp_ns == 2


def test_every_truncation_is_a_bag_error(tmp_path):
    whole = write_bag(tmp_path / "cell.mcap").read_bytes()
    part = tmp_path / "part.mcap"
    for length in range(0, len(whole), 211):
        part.write_bytes(whole[:length])
        with pytest.raises(BagError):
            kinds(part)


def test_damaged_bytes_are_read_or_refused(tmp_path):
    whole = write_bag(tmp_path / "cell.mcap", raw=True, frames=1).read_bytes()
    rng = random.Random(0)
    damaged, outcomes = tmp_path / "damaged.mcap", set()
    for _ in range(150):
        data = bytearray(whole)
        for _ in range(rng.choice([1, 3, 20])):
            # the pixels are most of the bag, and harmless
            data[rng.choice([rng.randrange(4000), -rng.randrange(1, 6000)])] = rng.randrange(256)
        damaged.write_bytes(data)
        try:
            with BagReader(damaged) as bag:
                for event in bag.events():
                    if isinstance(event, ImageEvent):
                        event.decode()
            outcomes.add("read")
        except (BagError, ImageError) as error:
            outcomes.add(type(error).__name__)
    assert {"read", "BagError"} <= outcomes


def test_a_truncated_sqlite_bag_is_a_bag_error(tmp_path):
    from rosbags.rosbag2 import StoragePlugin, Writer

    store = rostypes.typestore()
    with Writer(tmp_path / "b", version=9, storage_plugin=StoragePlugin.SQLITE3) as writer:
        connection = writer.add_connection("/cam", rostypes.IMAGE, typestore=store)
        data = store.serialize_cdr(image_message(draw_tote(), 5, raw=True), rostypes.IMAGE)
        writer.write(connection, 7, data)
    (file,) = (tmp_path / "b").glob("*.db3")
    whole = file.read_bytes()
    for part in (0, 100, 4096, len(whole) // 2, len(whole) - 4096):
        file.write_bytes(whole[:part])
        for path in (file, tmp_path / "b"):
            with pytest.raises(BagError):
                kinds(path)


def test_truth_that_is_not_json_is_a_bag_error(tmp_path):
    truths = Topic("/ground_truth", rostypes.STRING)
    for text in ("{", "[]"):
        with BagWriter(tmp_path / "a.mcap", [IMAGES, truths]) as bag:
            bag.write(IMAGES.name, 1, image_message(draw_tote(), 1))
            bag.write(truths.name, 1, rostypes.make(rostypes.STRING, data=text))
        with pytest.raises(BagError, match="ground truth"):
            kinds(tmp_path / "a.mcap")


def test_a_broken_image_is_an_image_error_and_the_next_is_read(tmp_path):
    path = tmp_path / "a.mcap"
    good = image_message(draw_tote(), 2)
    cut = rostypes.make(
        rostypes.COMPRESSED, header=rostypes.header(1, "c"), format="jpeg", data=good.data[:-40]
    )
    with BagWriter(path, [IMAGES]) as bag:
        bag.write(IMAGES.name, 1, cut)
        bag.write(IMAGES.name, 2, good)
    with BagReader(path) as bag:
        first, second = bag.events()
    with pytest.raises(ImageError, match="truncated"):
        first.decode()
    assert second.decode().image_rgb.shape == (96, 128, 3)


def test_read_topics_checks_types(tmp_path):
    path = write_bag(tmp_path / "cell.mcap")
    with pytest.raises(BagError, match=r"must be std_msgs/msg/String"):
        list(read_topics(path, {IMAGES.name: rostypes.STRING}))
    assert list(read_topics(path, {"/absent": rostypes.STRING})) == []
    got = list(read_topics(path, {"/ground_truth": rostypes.STRING}))
    assert [topic for topic, _, _ in got] == ["/ground_truth"] * 3


def test_the_bag_can_move(tmp_path):
    path = write_bag(tmp_path / "cell.mcap")
    shutil.move(path, tmp_path / "renamed.mcap")
    assert len(kinds(tmp_path / "renamed.mcap")) == 7

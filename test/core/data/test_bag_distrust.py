# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Bags as they come from elsewhere: whole cells, without an index, out of order, half a folder."""

import struct
from io import BytesIO

import pytest
from cell_recording import ALL, CAMERAS, EVENTS, MANIFESTS, MS, START, event, view, write_cell_bag
from colour_cell import draw_tote, image_message, write_bag
from rosbags.rosbag2 import StoragePlugin, Writer

from robollm_core.data import rostypes
from robollm_core.data.bag import BagReader, ImageEvent, ManifestEvent, PickMessage
from robollm_core.data.bagwriter import BagWriter, Topic
from robollm_core.data.camera_topics import camera_names, camera_of
from robollm_core.errors import BagError

CAM = Topic("/cam/image", rostypes.IMAGE)


def read(path, **how):
    with BagReader(path, **how) as bag:
        return list(bag.events())


def plain_mcap(path, messages, end=True):
    """An MCAP file without chunks and without an index, written here by hand."""
    store, out = rostypes.typestore(), BytesIO()
    out.write(b"\x89MCAP0\r\n")

    def record(opcode, body):
        out.write(struct.pack("<BQ", opcode, len(body)) + body)

    def text(string):
        data = string.encode()
        return struct.pack("<I", len(data)) + data

    definition, _ = store.generate_msgdef(rostypes.IMAGE, ros_version=2)
    record(0x01, text("ros2") + text("by hand"))
    record(0x03, struct.pack("<H", 1) + text(rostypes.IMAGE) + text("ros2msg") + text(definition))
    record(0x04, struct.pack("<HH", 1, 1) + text(CAM.name) + text("cdr") + struct.pack("<I", 0))
    for log_ns, message in messages:
        data = bytes(store.serialize_cdr(message, rostypes.IMAGE))
        record(0x05, struct.pack("<HIQQ", 1, 0, log_ns, log_ns) + data)
    if end:
        record(0x0F, bytes(4))
        record(0x02, bytes(20))
        out.write(b"\x89MCAP0\r\n")
    path.write_bytes(out.getvalue())
    return path


def picture(stamp):
    return image_message(draw_tote(), stamp, raw=True)


def test_an_mcap_without_an_index_is_read(tmp_path):
    path = plain_mcap(tmp_path / "a.mcap", [(stamp, picture(stamp)) for stamp in (1, 2, 3)])
    assert [each.stamp_ns for each in read(path)] == [1, 2, 3]


def test_an_mcap_without_an_index_and_out_of_order_is_refused_with_the_reason(tmp_path):
    path = plain_mcap(tmp_path / "a.mcap", [(stamp, picture(stamp)) for stamp in (1, 3, 2)])
    with pytest.raises(BagError, match="not in timestamp order"):
        read(path)


def test_an_mcap_without_an_end_says_how_it_may_be_saved(tmp_path):
    path = plain_mcap(tmp_path / "a.mcap", [(1, picture(1))], end=False)
    with pytest.raises(BagError, match="robollm replay recover"):
        read(path)


def test_messages_written_out_of_order_are_read_in_order(tmp_path):
    with BagWriter(tmp_path / "a.mcap", [CAM]) as bag:
        for stamp in (5, 1, 4, 2, 3):
            bag.write(CAM.name, stamp, picture(stamp))
    assert [each.log_ns for each in read(tmp_path / "a.mcap")] == [1, 2, 3, 4, 5]


def folder_of(path, plugin):
    store = rostypes.typestore()
    with Writer(path, version=9, storage_plugin=plugin) as writer:
        connection = writer.add_connection(CAM.name, rostypes.IMAGE, typestore=store)
        writer.write(connection, 7, store.serialize_cdr(picture(5), rostypes.IMAGE))
    return path


@pytest.mark.parametrize("plugin", [StoragePlugin.SQLITE3, StoragePlugin.MCAP])
def test_a_folder_without_its_description_is_refused_but_its_file_is_read(tmp_path, plugin):
    folder = folder_of(tmp_path / "bag", plugin)
    (folder / "metadata.yaml").unlink()
    with pytest.raises(BagError, match="metadata"):
        read(folder)
    (file,) = folder.iterdir()
    assert [each.stamp_ns for each in read(file)] == [5]


@pytest.mark.parametrize("text", ["", "rosbag2_bagfile_information: 3", "{", "a: [", "\x00"])
def test_a_folder_with_a_broken_description_is_refused(tmp_path, text):
    folder = folder_of(tmp_path / "bag", StoragePlugin.SQLITE3)
    (folder / "metadata.yaml").write_text(text)
    with pytest.raises(BagError, match="bag"):
        read(folder)


def test_a_folder_whose_file_is_gone_is_refused(tmp_path):
    folder = folder_of(tmp_path / "bag", StoragePlugin.SQLITE3)
    next(folder.glob("*.db3")).unlink()
    with pytest.raises(BagError, match="bag"):
        read(folder)


def test_types_that_nobody_knows_are_passed_over(tmp_path):
    definition = "uint8 number\n"
    with Writer(tmp_path / "bag", version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        store = rostypes.typestore()
        other = writer.add_connection("/plc/state", "acme_msgs/msg/State", msgdef=definition,
                                      rihs01="RIHS01_" + "0" * 64)  # fmt: skip
        images = writer.add_connection(CAM.name, rostypes.IMAGE, typestore=store)
        writer.write(other, 1, b"\x00\x01\x00\x00\x05")
        writer.write(images, 2, store.serialize_cdr(picture(2), rostypes.IMAGE))
    assert [each.stamp_ns for each in read(tmp_path / "bag" / "bag.mcap")] == [2]


def test_an_image_type_with_other_fields_is_refused(tmp_path):
    with Writer(tmp_path / "bag", version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        images = writer.add_connection(CAM.name, rostypes.IMAGE, msgdef="uint8 number\n",
                                       rihs01="RIHS01_" + "0" * 64)  # fmt: skip
        writer.write(images, 1, b"\x00\x01\x00\x00\x05")
    with pytest.raises(BagError, match="with other fields"):
        read(tmp_path / "bag" / "bag.mcap")


def test_a_whole_cell_has_all_cameras_and_pick_events(tmp_path):
    asked = event("e-1", view("tote_top", START + 100 * MS))
    messages = [(100, "tote_top", ALL), (100, "on_arm_low", ALL), (100, "event", asked)]
    path = write_cell_bag(tmp_path / "a.mcap", messages)
    with pytest.raises(BagError, match="several image topics"):
        read(path)
    with BagReader(path, whole_cell=True) as bag:
        assert bag.image_topics == tuple(sorted(topic.name for topic in CAMERAS.values()))
        assert bag.frames == 2
        latched = {topic.name: topic.latched for topic in bag.topics}
        got = list(bag.events())
    assert latched == {MANIFESTS.name: True, EVENTS.name: False,
                       **{topic.name: False for topic in CAMERAS.values()}}  # fmt: skip
    assert [type(each) for each in got] == [ManifestEvent, ImageEvent, ImageEvent, PickMessage]
    assert got[-1].text == asked
    store = rostypes.typestore()
    for each in got:
        kind = rostypes.IMAGE if isinstance(each, ImageEvent) else rostypes.STRING
        store.deserialize_cdr(each.serialised, kind)


def test_what_a_recorded_node_drew_is_no_camera(tmp_path):
    own = [Topic(f"/left/perception/{name}", rostypes.IMAGE) for name in ("masks", "overlay")]
    said = Topic("/left/perception/detections", rostypes.DETECTIONS)
    with BagWriter(tmp_path / "a.mcap", [CAM, *own, said]) as bag:
        for topic in (CAM, *own):
            bag.write(topic.name, 5, picture(5))
    for whole in (True, False):
        with BagReader(tmp_path / "a.mcap", whole_cell=whole) as bag:
            assert bag.image_topics == (CAM.name,)
    # but who names it gets it
    with BagReader(tmp_path / "a.mcap", own[1].name) as bag:
        assert bag.image_topics == (own[1].name,)


def test_a_camera_that_sent_nothing_raw_is_read_compressed(tmp_path):
    packed = Topic(f"{CAM.name}/compressed", rostypes.COMPRESSED)
    with BagWriter(tmp_path / "a.mcap", [CAM, packed]) as bag:
        bag.write(packed.name, 5, image_message(draw_tote(), 5))
    assert [each.topic for each in read(tmp_path / "a.mcap", whole_cell=True)] == [packed.name]


def test_pick_events_are_left_out_unless_asked_for(tmp_path):
    path = write_bag(tmp_path / "a.mcap")
    assert not any(isinstance(each, PickMessage) for each in read(path))


@pytest.mark.parametrize(
    ("topic", "name"),
    [
        ("/cell/tote_top/image/compressed", "tote_top"),
        ("/tote_top/image", "tote_top"),
        ("/tote_top/image_raw", "tote_top"),
        ("/image", "camera"),
        ("/image/compressed", "camera"),
        ("/cam", "cam"),
    ],
)
def test_a_camera_is_called_by_the_word_before_image(topic, name):
    assert camera_of(topic) == name


def test_cameras_of_one_name_are_told_apart():
    names = camera_names(["/left/top/image", "/right/top/image", "/arm/image"])
    assert names == {"/left/top/image": "left_top_image", "/right/top/image": "right_top_image",
                     "/arm/image": "arm"}  # fmt: skip

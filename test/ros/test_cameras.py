# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Several cameras on one node: their parameters, their topics, and that each gets its turn."""

import json

import pytest

pytest.importorskip("rclpy", reason="no ROS 2: neither the wheels nor a sourced installation")
pytest.importorskip("vision_msgs", reason="vision_msgs is not installed")
pytest.importorskip("cv2", reason="OpenCV is not installed")

pytest.importorskip("onnx", reason="the stand-in networks need onnx")

import colour_cell
import cv2
import ros_probe
from sensor_msgs.msg import CompressedImage, Image

from robollm_core.config import InputConfig
from robollm_core.errors import ConfigError
from robollm_ros.cameras import (
    Camera,
    camera_leaves,
    check_names,
    check_topics,
    read_cameras,
)
from robollm_ros.mailbox import FATES

pytestmark = pytest.mark.ros
draw_tote, values = colour_cell.draw_tote, ros_probe.values
NAMES = ["tote_top", "tote_wall", "on_arm"]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([], "1 to 16 names, got 0"),
        ("tote_top", "must be a list"),
        ([3], "holds 3"),
        ([""], "holds ''"),
        (["1st"], "begins with a letter"),
        (["_hidden"], "begins with a letter"),
        (["a/b"], "letters, digits and underscores"),
        (["a.b"], "letters, digits and underscores"),
        (["tote top"], "letters, digits and underscores"),
        (["töte"], "letters, digits and underscores"),
        (["a" * 65], "63"),
        (["a", "b", "a"], "twice: a, b, a"),
        ([f"c{i}" for i in range(17)], "got 17"),
    ],
)
def test_names_that_ros_could_not_use_are_refused(value, words):
    with pytest.raises(ConfigError, match="camera_names") as failure:
        check_names(value)
    assert words in str(failure.value)


def test_a_camera_without_settings_takes_those_of_all_cameras():
    names = ("top", "wall")
    settings = {leaf.name: leaf.default for leaf in camera_leaves(names)}
    common = InputConfig("compressed", 3.0, 50.0, 7.0)
    assert read_cameras(names, settings.__getitem__, common) == (
        Camera("top", "top/image", "compressed", 50.0, 3.0, 7.0),
        Camera("wall", "wall/image", "compressed", 50.0, 3.0, 7.0),
    )
    own = {"topic": "up", "transport": "raw", "max_age_ms": 0.0, "stale_after_s": 9.0,
           "max_rate_hz": 2.0}  # fmt: skip
    settings |= {f"cameras.top.{name}": value for name, value in own.items()}
    top, wall = read_cameras(names, settings.__getitem__, common)
    assert top == Camera("top", "up", "raw", 0.0, 9.0, 2.0)
    assert wall.max_rate_hz == 7.0
    assert (top.heard, wall.heard) == ("up", "wall/image/compressed")


def test_the_only_camera_of_the_default_keeps_its_topic():
    (leaf,) = [leaf for leaf in camera_leaves(("camera",)) if leaf.name.endswith("topic")]
    assert leaf.default == "image"


def test_two_cameras_on_one_topic_are_refused():
    cameras = (Camera("a", "x"), Camera("b", "y"), Camera("c", "x"))
    with pytest.raises(ConfigError, match=r"a and c both hear /x.*cameras\.c\.topic"):
        check_topics(cameras, lambda topic: f"/{topic}")
    raw_and_compressed = (Camera("a", "x"), Camera("b", "x", "compressed"))
    check_topics(raw_and_compressed, lambda topic: f"/{topic}")


class Cameras:
    """Publishers for the cameras of a cell."""

    def __init__(self, cell, names=NAMES, compressed=()):
        self.cell = cell
        self.publishers = {
            name: cell.probe.create_publisher(CompressedImage, f"{name}/image/compressed", 5)
            if name in compressed
            else cell.probe.create_publisher(Image, f"{name}/image", 5)
            for name in names
        }

    def start(self):
        assert self.cell.transition("configure")
        assert self.cell.transition("activate")
        for name, publisher in self.publishers.items():
            self.cell.wait(publisher.get_subscription_count, f"a subscription of {name}")

    def show(self, name, stamp):
        raw, jpeg = self.cell.images, self.cell.compressed
        publisher = self.publishers[name]
        if publisher.msg_type is Image:
            self.cell.images = publisher
            self.cell.show(draw_tote(), stamp=stamp, frame_id=f"{name}_optical")
        else:
            self.cell.compressed = publisher
            _, data = cv2.imencode(".png", draw_tote()[..., ::-1])
            self.cell.show_compressed(data.tobytes(), stamp=stamp, frame_id=f"{name}_optical")
        self.cell.images, self.cell.compressed = raw, jpeg


def test_raw_and_compressed_cameras_are_answered_on_the_same_topics(make_cell):
    cell = make_cell(camera_names=NAMES, **{"cameras__on_arm__transport": "compressed"})
    cameras = Cameras(cell, compressed=["on_arm"])
    cameras.start()
    for second, name in enumerate(NAMES, start=1):
        cameras.show(name, (second, 7))
        found = cell.answers("detections", second)[-1]
        assert found.header.frame_id == f"{name}_optical"
        stamp = second * 10**9 + 7
        assert [d.id for d in found.detections] == [f"{name}_optical/{stamp}/{i}" for i in range(3)]
        timing = json.loads(cell.answers("timing", second)[-1].data)
        assert (timing["input"], timing["camera"]) == (name, f"{name}_optical")
        # the counts are those of this camera alone
        assert (timing["received"], timing["processed"]) == (1, 1)
    for name in NAMES:
        status = cell.status(f"input/{name}", lambda s: values(s)["processed"] == "1")
        assert values(status)["frame_id"] == f"{name}_optical"


def test_a_lost_camera_leaves_the_others_alone_and_is_named(make_cell):
    cell = make_cell(camera_names=NAMES, input__stale_after_s=0.4)
    cameras = Cameras(cell)
    cameras.start()
    for second in range(1, 8):
        for name in NAMES[:2]:
            cameras.show(name, (second, 0))
        cell.answers("detections", 2 * second)
    assert cell.status("input/on_arm", lambda s: s.level == b"\x02")
    assert [cell.counts(name)["processed"] for name in NAMES] == [7, 7, 0]


def test_every_frame_of_every_camera_is_accounted_for(make_cell):
    cell = make_cell(
        camera_names=NAMES,
        **{"cameras__tote_wall__max_rate_hz": 5.0, "cameras__on_arm__max_age_ms": 10.0},
    )
    cameras = Cameras(cell)
    cameras.start()
    for second in range(1, 21):
        for name in NAMES:
            cameras.show(name, (second, 0))
            cell.wait(lambda n=name, s=second: cell.counts(n)["received"] == s, "a frame")
    for name in NAMES:
        cell.wait(lambda n=name: cell.counts(n)["waiting"] == 0, f"the end of {name}")
        counts = cell.counts(name)
        assert counts["received"] == sum(counts[fate] for fate in FATES)
    assert cell.counts("tote_wall")["dropped_rate"] > 0
    # its stamps are of 1970
    assert cell.counts("on_arm")["dropped_age"] > 0
    assert cell.counts("on_arm")["processed"] == 0


def test_rates_and_ages_of_a_camera_may_change_while_it_runs_topics_not(make_cell):
    cell = make_cell(camera_names=NAMES)
    cameras = Cameras(cell)
    cameras.start()
    assert cell.set_parameter("cameras.on_arm.max_age_ms", 5.0).successful
    cameras.show("on_arm", (1, 0))
    cell.wait(lambda: cell.counts("on_arm")["dropped_age"] == 1, "the old frame to be dropped")
    assert cell.set_parameter("cameras.on_arm.max_age_ms", 0.0).successful
    cameras.show("on_arm", (2, 0))
    cell.answers("detections", 1)
    # what is set for all holds for who has no setting of its own
    assert cell.set_parameter("input.max_age_ms", 5.0).successful
    cameras.show("tote_top", (3, 0))
    cell.wait(lambda: cell.counts("tote_top")["dropped_age"] == 1, "the old frame to be dropped")
    cameras.show("on_arm", (4, 0))
    cell.answers("detections", 2)
    for name, value in (("topic", "x"), ("transport", "compressed"), ("stale_after_s", 1.0)):
        refused = cell.set_parameter(f"cameras.on_arm.{name}", value)
        assert not refused.successful
        assert "clean up first" in refused.reason
    refused = cell.set_parameter("cameras.on_arm.max_rate_hz", -2.0)
    assert not refused.successful
    assert not cell.set_parameter("camera_names", ["other"]).successful


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"camera_names": []}, ["camera_names", "1 to 16"]),
        ({"camera_names": ["top", "top"]}, ["camera_names", "twice"]),
        ({"camera_names": "top"}, ["camera_names", "must be a list"]),
        ({"camera_names": [1, 2]}, ["camera_names", "holds 1"]),
        ({"camera_names": ["top"], "cameras__topp__topic": "x"},
         ["unknown parameter 'cameras.topp.topic'", "Did you mean cameras.top.topic?"]),
        ({"cameras__top__topic": "x"}, ["unknown parameter 'cameras.top.topic'"]),
        ({"camera_names": ["top"], "cameras__top__transport": "pigeon"}, ["pigeon", "compressed"]),
        ({"camera_names": ["top"], "cameras__top__topic": "no topic!"},
         ["cameras.top.topic", "no topic!"]),
        ({"camera_names": ["top"], "cameras__top__topic": ""}, ["cameras.top.topic", "''"]),
        ({"camera_names": ["top"], "cameras__top__topic": 3}, ["cameras.top.topic must be str"]),
        ({"camera_names": ["a", "b"], "cameras__a__topic": "b/image"}, ["both hear /b/image"]),
    ],
)  # fmt: skip
def test_wrong_settings_of_cameras_stop_configure_in_one_line(make_cell, logged, settings, words):
    cell = make_cell(**settings)
    assert not cell.transition("configure")
    (line,) = [text for severity, text in logged if severity == "ERROR"]
    assert line.startswith("cannot configure: ")
    assert "\n" not in line
    assert all(word in line for word in words)


def test_the_qos_of_each_camera_can_be_overridden(make_cell):
    cell = make_cell(
        camera_names=["top", "wall"], cameras__wall__topic="elsewhere",
        **{"qos_overrides./elsewhere.subscription.reliability": "reliable"},
    )  # fmt: skip
    assert cell.transition("configure")
    assert cell.transition("activate")
    for topic, expected in (("/top/image", "BEST_EFFORT"), ("/elsewhere", "RELIABLE")):
        (info,) = cell.node.get_subscriptions_info_by_topic(topic)
        assert info.qos_profile.reliability.name == expected


def test_what_the_answers_mean_is_latched_and_counts_editions(make_cell, tmp_path):
    cell = make_cell(
        listen=("detections", "label_info", "vision_info"),
        identification__reference_root=str(tmp_path), segmentation__mask_threshold=0.25,
    )  # fmt: skip
    cell.start()
    (labels,) = cell.answers("label_info", 1)
    assert [(c.class_id, c.class_name) for c in labels.class_map] == [(0, "object")]
    assert labels.threshold == 0.25
    first = cell.answers("vision_info", 1)[0]
    assert first.method.startswith("robollm/networks@")
    for version in (3, 4):
        cell.tell(
            colour_cell.manifest_text(colour_cell.write_references(tmp_path), version=version)
        )
        cell.answers("vision_info", version - 1)
    editions = [info.database_version for info in cell.heard["vision_info"]]
    assert editions == [first.database_version + step for step in range(3)]


def test_a_simulated_clock_that_goes_back_clears_what_waits(make_cell):
    clock = pytest.importorskip("rosgraph_msgs.msg", reason="rosgraph_msgs is not installed")
    import threading

    cell = make_cell(use_sim_time=True)
    cell.start()
    ticks = cell.probe.create_publisher(clock.Clock, "/clock", 10)
    cell.wait(ticks.get_subscription_count, "the node to hear the clock")

    def tick(second):
        message = clock.Clock()
        message.clock.sec = second
        ticks.publish(message)
        cell.wait(lambda: cell.node.get_clock().now().nanoseconds == second * 10**9, "the time")

    tick(100)
    entered, proceed = threading.Event(), threading.Event()
    segmentation = cell.node.cell.worker.stages.segmentation
    segment = segmentation.segment

    def slow(frame):
        entered.set()
        assert proceed.wait(30)
        return segment(frame)

    segmentation.segment = slow
    cell.show(draw_tote(), stamp=(99, 0))
    assert entered.wait(30)
    cell.show(draw_tote(), stamp=(100, 0))
    cell.wait(lambda: cell.counts()["received"] == 2, "the second frame")
    tick(3)
    proceed.set()
    cell.wait(lambda: cell.counts()["waiting"] == 0, "the end of the first frame")
    counts = cell.counts()
    assert (counts["dropped_jump"], counts["processed"]) == (1, 1)
    cell.show(draw_tote(), stamp=(3, 0))
    assert cell.answers("detections", 2)[1].header.stamp.sec == 3

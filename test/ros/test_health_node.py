# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The whole node tells of itself: while it loads, when QoS does not fit, when a network hangs."""

import dataclasses
import json
import threading
import time

import pytest

pytest.importorskip("rclpy", reason="no ROS 2: neither the wheels nor a sourced installation")
pytest.importorskip("vision_msgs", reason="vision_msgs is not installed")
pytest.importorskip("cv2", reason="OpenCV is not installed")

colour_cell = pytest.importorskip("colour_cell", reason="the stand-in networks need onnx")
ros_health = pytest.importorskip("ros_health")
ros_probe = pytest.importorskip("ros_probe")
node_module = pytest.importorskip("robollm_ros.perception_node")
tell = pytest.importorskip("robollm_core.runtime.progress").tell
String = pytest.importorskip("std_msgs.msg").String
Image = pytest.importorskip("sensor_msgs.msg").Image

pytestmark = pytest.mark.ros
WARN, ERROR = b"\x01", b"\x02"
values = ros_health.values


@pytest.fixture
def listener(domain):
    """Hears /diagnostics in an executor of its own, which no transition blocks."""
    made = ros_health.Graph(domain)
    yield made
    made.close()


class Slow(node_module.PerceptionNode):
    """Loads its networks for so long that others would take it for dead."""

    def load_stages(self, config):
        time.sleep(1.2)
        tell("segmentation.onnx for a GPU: 5 s, builds")
        time.sleep(0.3)
        return super().load_stages(config)


class Stuck:
    """A segmentation that does not answer until it is released."""

    def __init__(self, stages):
        self._real, self.release = stages.segmentation, threading.Event()

    def segment(self, frame):
        self.release.wait(20.0)
        return self._real.segment(frame)


def test_a_node_that_loads_for_long_reports_all_the_while(domain, stand_ins, listener):
    cell = ros_probe.Cell(Slow, domain, stand_ins)
    try:
        listener.status("/perception: lifecycle")
        configure = threading.Thread(target=cell.transition, args=("configure",))
        begun = len(listener.heard)
        configure.start()
        told = listener.status(
            "/perception: lifecycle",
            lambda s: s.message == "configuring: loading the networks, 1 s",
        )
        # what a build tells of itself is passed on
        listener.status("/perception: lifecycle", lambda s: "5 s, builds" in s.message)
        configure.join()
        assert told.level == WARN
        # a period is 0.1 s, and the networks alone take 1.5 s
        assert len(listener.heard) - begun >= 10
        listener.status("/perception: lifecycle", lambda s: s.message == "inactive")
    finally:
        cell.close()


def test_a_configure_that_fails_says_why_on_diagnostics(make_cell):
    cell = make_cell(segmentation__artifact="gone.onnx")
    assert not cell.transition("configure")
    told = cell.status("lifecycle", lambda s: s.level == ERROR)
    assert told.message.startswith("unconfigured: cannot configure: ")
    assert "gone.onnx" in told.message
    assert cell.set_parameter("segmentation.artifact", "still_gone.onnx").successful
    assert not cell.transition("configure")
    cell.status("lifecycle", lambda s: "still_gone.onnx" in s.message)


class Buggy(node_module.PerceptionNode):
    """Fails to load in a way that nobody foresaw."""

    def load_stages(self, config):
        raise ZeroDivisionError("of all things")


def test_a_bug_in_a_transition_stays_on_diagnostics_until_the_next_try(domain, stand_ins):
    cell = ros_probe.Cell(Buggy, domain, stand_ins)
    try:
        assert not cell.transition("configure")
        told = cell.status("lifecycle", lambda s: s.level == ERROR)
        assert "cannot configure: ZeroDivisionError('of all things')" in told.message
    finally:
        cell.close()


def test_a_best_effort_camera_before_a_reliable_subscription(make_cell, logged):
    settings = {"qos_overrides./image.subscription.reliability": "reliable"}
    cell = make_cell(**settings)
    cell.probe.destroy_publisher(cell.images)
    assert cell.transition("configure")
    assert cell.transition("activate")
    cell.probe.create_publisher(Image, "image", ros_health.BEST_EFFORT)
    told = cell.status("input/camera", lambda s: values(s)["incompatible_qos"] == "1")
    assert "QoS mismatch on /image: nothing of /probe arrives" in told.message
    lines = [text for level, text in logged if level == "WARN" and "QoS mismatch" in text]
    assert lines == [told.message.partition(": ")[2] if told.level == ERROR else told.message]


def test_a_listener_that_wants_latched_detections_is_told_of(make_cell, logged):
    cell = make_cell()
    cell.start()
    kind = pytest.importorskip("vision_msgs.msg").Detection2DArray
    cell.probe.create_subscription(kind, "perception/detections", print, ros_health.LATCHED)
    told = cell.status("output", lambda s: s.level == WARN)
    assert "/perception/detections: /probe hears nothing" in told.message
    assert [text for _, text in logged if "QoS mismatch" in text] == [told.message]


@pytest.mark.parametrize(("action", "state"), [("deactivate", "inactive"), ("continue", "active")])
def test_a_network_that_hangs_is_an_error_and_is_acted_upon(make_cell, action, state):
    cell = make_cell(health__hang_s=0.5, health__on_fatal=action)
    cell.start()
    worker = cell.node.cell.worker
    stuck = Stuck(worker.stages)
    worker.stages = dataclasses.replace(worker.stages, segmentation=stuck)
    try:
        cell.show(colour_cell.draw_tote())
        told = cell.status("model", lambda s: s.level == ERROR)
        assert "hang" in told.message
        cell.status("lifecycle", lambda s: s.message == state)
    finally:
        stuck.release.set()
    if action == "continue":
        cell.status("model", lambda s: s.level == b"\x00")
        cell.answers("detections", 1)
    else:
        # whoever looks later still finds the reason
        cell.status("model", lambda s: "hang" in s.message)


def test_ages_and_looks_of_a_camera_are_reported(make_cell):
    cell = make_cell()
    cell.start()
    cell.show(colour_cell.draw_tote(), stamp=divmod(time.time_ns(), 10**9), frame_id="tote")
    told = values(cell.status("input/camera", lambda s: values(s).get("size")))
    assert (told["size"], told["encoding"], told["frame_id"]) == ("128x96", "rgb8", "tote")
    assert 0 <= float(told["age_p50_ms"]) < 5000
    assert (told["topic"], told["publishers"]) == ("/image", "1")


def ask_picks(cell, count):
    """Send so many pick events that mean the newest frame, and wait for their answers."""
    events = cell.probe.create_publisher(String, "pick/event", 10)
    ended = []

    def hear(message):
        told = json.loads(message.data)
        ended.extend([told["state"]] if told["final"] else [])

    cell.probe.create_subscription(String, "pick/status", hear, 50)
    cell.wait(events.get_subscription_count, "the node to listen to events")
    for number in range(count):
        view = {"camera": "camera", "match": "latest"}
        event = {"schema": "robollm.pick_event/1", "event_id": f"e{number}", "views": [view],
                 "pick_id": f"p{number}", "phase": "pre_pick"}  # fmt: skip
        events.publish(String(data=json.dumps(event)))
    cell.wait(lambda: len(ended) == count, f"{count} answers")
    return ended


def test_pictures_that_cannot_be_read_are_no_failure_of_a_network(make_cell):
    cell = make_cell(input__transport="compressed", input__enabled=False, health__error_after=2)
    cell.start()
    cell.show_compressed(b"no picture")
    assert ask_picks(cell, 5) == ["error"] * 5
    cell.status("pick", lambda s: s.level == ERROR)
    told = cell.status("model", lambda s: True)
    assert (told.level, values(told)["failures"]) == (b"\x00", "0")
    cell.status("lifecycle", lambda s: s.message == "active")


def test_picks_that_are_answered_end_a_row_of_failures(make_cell):
    cell = make_cell(input__enabled=False, health__error_after=3)
    cell.start()
    cell.show(colour_cell.draw_tote())
    cell.node.health.failed("pick/event", "NaN")
    assert ask_picks(cell, 2) == ["done"] * 2
    told = cell.status("model", lambda s: values(s)["failures"] == "0")
    assert told.level == b"\x00"


def test_ages_from_before_a_jump_of_the_stamps_are_forgotten(make_cell):
    cell = make_cell()
    cell.start()
    now, hour_s = time.time_ns(), 3600
    shown = 0
    for seconds, times in ((1, 9), (hour_s, 4)):  # a bag begins again, an hour back
        for number in range(times):
            stamp = now - seconds * 10**9 + number
            cell.show(colour_cell.draw_tote(), stamp=divmod(stamp, 10**9))
            shown += 1
            cell.answers("detections", shown)
    # were they kept, the nine young ones would be the median
    told = cell.status("input/camera", lambda s: values(s)["processed"] == str(shown))
    assert float(values(told)["age_p50_ms"]) >= hour_s * 1e3

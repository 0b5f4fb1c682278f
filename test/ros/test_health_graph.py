# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""On a live graph: QoS that does not fit is told of, and health is heard while a step blocks."""

import threading
import time

import pytest

pytest.importorskip("rclpy", reason="no ROS 2: neither the wheels nor a sourced installation")
pytest.importorskip("vision_msgs", reason="vision_msgs is not installed")

ros_health = pytest.importorskip("ros_health")
executors = pytest.importorskip("rclpy.executors")
Image = pytest.importorskip("sensor_msgs.msg").Image
String = pytest.importorskip("std_msgs.msg").String

pytestmark = pytest.mark.ros
Cell, values, wait = ros_health.Cell, ros_health.values, ros_health.wait
RELIABLE, BEST_EFFORT, LATCHED = ros_health.RELIABLE, ros_health.BEST_EFFORT, ros_health.LATCHED
OK, WARN, ERROR = b"\x00", b"\x01", b"\x02"


@pytest.fixture
def graph(domain):
    made = ros_health.Graph(domain)
    yield made
    made.close()


def test_a_camera_that_cannot_be_heard_is_a_log_line_and_a_status(graph, logged):
    cell = Cell(graph)
    cell.activate()
    events = cell.events.of_subscription("tote/image")
    cell.node.create_subscription(Image, "tote/image", print, RELIABLE, event_callbacks=events)
    assert values(graph.status("/cell/perception: input/tote"))["incompatible_qos"] == "0"

    driver = graph.node("driver")
    publisher = driver.create_publisher(Image, "tote/image", BEST_EFFORT)
    status = graph.status("/cell/perception: input/tote", lambda s: s.level == WARN)
    assert values(status)["incompatible_qos"] == "1"
    assert "nothing of /cell/driver arrives" in status.message
    assert "best_effort is offered, reliable is asked for" in status.message
    assert "qos_overrides./cell/tote/image.subscription.reliability" in status.message
    lines = [text for level, text in logged if level == "WARN" and "QoS mismatch" in text]
    assert len(lines) == 1
    assert lines[0] == status.message

    # the camera driver is mended: started anew with QoS that fits
    driver.destroy_publisher(publisher)
    driver.create_publisher(Image, "tote/image", RELIABLE)
    graph.status("/cell/perception: input/tote", lambda s: s.level == OK)


def test_a_camera_that_cannot_be_heard_and_is_missed_is_an_error(graph):
    cell = Cell(graph, stale_after_s=0.1)
    cell.activate()
    events = cell.events.of_subscription("tote/image")
    cell.node.create_subscription(Image, "tote/image", print, RELIABLE, event_callbacks=events)
    missed = graph.status("/cell/perception: input/tote", lambda s: s.level == ERROR)
    assert "nobody publishes /cell/tote/image" in missed.message
    graph.node("driver").create_publisher(Image, "tote/image", BEST_EFFORT)
    graph.status("/cell/perception: input/tote", lambda s: "QoS mismatch" in s.message)


def test_a_publisher_that_fits_and_is_mute_has_a_sentence_of_its_own(graph):
    cell = Cell(graph, stale_after_s=0.1)
    cell.activate()
    cell.node.create_subscription(Image, "tote/image", print, BEST_EFFORT)
    graph.node("driver").create_publisher(Image, "tote/image", RELIABLE)
    graph.status("/cell/perception: input/tote", lambda s: "send nothing" in s.message)


def test_a_manifest_that_is_not_latched_is_told_of(graph, logged):
    cell = Cell(graph)
    events = cell.events.of_subscription("container/manifest")
    cell.node.create_subscription(
        String, "container/manifest", print, LATCHED, event_callbacks=events
    )
    graph.node("wms").create_publisher(String, "container/manifest", RELIABLE)
    status = graph.status("/cell/perception: output", lambda s: s.level == WARN)
    assert "/cell/container/manifest: nothing of /cell/wms arrives" in status.message
    assert "volatile is offered, transient_local is asked for" in status.message
    assert [text for _, text in logged if "QoS mismatch" in text] == [status.message]


def test_a_listener_that_asks_for_latched_answers_is_told_of(graph, logged):
    cell = Cell(graph)
    events = cell.events.of_publisher("~/detections")
    cell.node.create_publisher(String, "~/detections", RELIABLE, event_callbacks=events)
    graph.node("planner").create_subscription(String, "perception/detections", print, LATCHED)
    status = graph.status("/cell/perception: output", lambda s: s.level == WARN)
    assert "/cell/perception/detections: /cell/planner hears nothing" in status.message
    assert "let it subscribe with durability volatile" in status.message
    assert values(status) == {"detections": "0"}
    assert [text for _, text in logged if "QoS mismatch" in text] == [status.message]


def test_health_is_heard_while_a_step_blocks_the_executor(graph):
    cell = Cell(graph)
    cell.health.state = "configuring"
    built, spun = [], threading.Event()

    def build():
        """A stand-in of an engine that takes long, run inside the executor as a transition is."""
        timer.cancel()
        with cell.reporter.heartbeat("building engine") as say:
            time.sleep(1.2)
            say("warming up")
            time.sleep(0.3)
        built.append(time.monotonic())
        spun.set()

    blocked = executors.SingleThreadedExecutor(context=graph.context)
    graph.hand_over(cell.node, blocked)
    timer = cell.node.create_timer(0.01, build)
    spinner = threading.Thread(target=lambda: [blocked.spin_once(timeout_sec=0.1) for _ in "ab"])
    began = len(graph.heard)
    spinner.start()
    building = graph.status(
        "/cell/perception: lifecycle", lambda s: s.message == "configuring: building engine, 1 s"
    )
    assert not spun.is_set()
    assert building.level == WARN
    graph.status("/cell/perception: lifecycle", lambda s: "warming up" in s.message)
    assert spun.wait(ros_health.TIMEOUT_S)
    spinner.join()
    blocked.shutdown()
    # a period is 0.1 s: silence is never longer than a few of them
    assert len(graph.heard) - began >= 8
    assert cell.health.doing == ""


def test_a_network_that_hangs_is_an_error_in_diagnostics_and_calls_for_action(graph, logged):
    cell = Cell(graph)
    cell.activate()
    cell.hangs_since = time.monotonic()
    status = graph.status("/cell/perception: model", lambda s: s.level == ERROR)
    assert status.message.startswith("the networks hang: tote/image has not answered for 0.")
    wait(lambda: cell.fatal)
    graph.status("/cell/perception: model", lambda s: float(values(s)["busy_s"]) > 1.0)
    assert len(cell.fatal) == 1
    assert cell.fatal[0].startswith("the networks hang")
    # where it hangs stands in the log
    (told,) = [text for level, text in logged if level == "ERROR"]
    assert "thread MainThread" in told
    # it goes on while on_fatal says so, and is well again when the network answers
    cell.hangs_since = None
    graph.status("/cell/perception: model", lambda s: "hang" not in s.message)


def test_networks_that_fail_in_a_row_call_for_action_once(graph):
    cell = Cell(graph)
    cell.activate()
    for _ in range(cell.health.config.health.error_after):
        cell.health.failed("tote/image", "boxes hold NaN")
    status = graph.status("/cell/perception: model", lambda s: s.level == ERROR)
    assert "failed 5 times in a row: tote/image: boxes hold NaN" in status.message
    wait(lambda: cell.fatal)
    # whoever deactivates keeps the mark until the next activation
    cell.health.state = "inactive"
    graph.status("/cell/perception: model", lambda s: s.level == ERROR)
    cell.activate()
    graph.status("/cell/perception: model", lambda s: s.level != ERROR)
    assert len(cell.fatal) == 1


def test_a_report_that_fails_is_logged_once_and_ends_nothing(graph, logged):
    cell = Cell(graph)
    cell.activate()
    broken = [True]

    def facts(real=cell.facts):
        if broken:
            raise RuntimeError("no facts")
        return real()

    cell.reporter._gather = facts
    wait(lambda: any("no facts" in text for _, text in logged))
    time.sleep(0.3)
    assert sum("no facts" in text for _, text in logged) == 1
    with cell.reporter.heartbeat("loading"):
        time.sleep(0.2)
    broken.clear()
    graph.status("/cell/perception: lifecycle", lambda s: s.message == "active")

# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The doctor of a running graph says in plain words what is wrong with a live cell."""

import dataclasses
import threading
import time

import pytest

rclpy = pytest.importorskip("rclpy", reason="no ROS 2: neither the wheels nor a sourced one")
pytest.importorskip("vision_msgs", reason="vision_msgs is not installed")
pytest.importorskip("cv2", reason="OpenCV is not installed")

colour_cell = pytest.importorskip("colour_cell", reason="the stand-in networks need onnx")
ros_health = pytest.importorskip("ros_health")
messages = pytest.importorskip("sensor_msgs.msg")
doctor = pytest.importorskip("robollm_ros.graph_doctor")
survey_of = pytest.importorskip("robollm_ros.graph_survey")
seen = pytest.importorskip("robollm_ros.graph_seen")

pytestmark = pytest.mark.ros
ERROR, WARN, OK = seen.ERROR, seen.WARN, seen.OK
SECONDS = 0.6
"""The cell under test reports ten times a second."""


@pytest.fixture(autouse=True)
def short_count(monkeypatch):
    monkeypatch.setattr(survey_of, "FRAMES_S", 0.3)


class Camera:
    """Shows the cell a picture again and again, stamped now, until the exit."""

    def __init__(self, cell):
        self._cell, self._stop = cell, threading.Event()
        self._thread = threading.Thread(target=self._show)

    def __enter__(self):
        self._thread.start()

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()

    def _show(self):
        while not self._stop.wait(0.05):
            self._cell.show(colour_cell.draw_tote(), stamp=divmod(time.time_ns(), 10**9))


class Slow:
    """A segmentation that takes 20 ms longer."""

    def __init__(self, stages):
        self._real = stages.segmentation

    def segment(self, frame):
        time.sleep(0.02)
        return self._real.segment(frame)


def look(cell, namespace=""):
    # a participant of its own, as the doctor has in a process of its own
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=cell.context.get_domain_id())
    surveyor = survey_of.Surveyor(context)
    met = []

    def long_enough():
        # participants may take two seconds to find each other
        if not met and "probe" in surveyor.node.get_node_names():
            met.append(time.monotonic())
        return bool(met) and time.monotonic() - met[0] > SECONDS

    try:
        survey = surveyor.survey(ros_health.TIMEOUT_S, namespace, long_enough)
    finally:
        surveyor.close()
        rclpy.try_shutdown(context=context)
    return doctor.findings_tree(survey)


def worst(found):
    return found["findings"][0]


def only(found, *words):
    """The one finding that says all the words."""
    (finding,) = [f for f in found["findings"] if all(word in f["what"] for word in words)]
    return finding


@pytest.fixture
def graph(domain):
    made = ros_health.Graph(domain)
    yield made
    made.close()


@pytest.fixture
def stranger(domain):
    """Makes nodes that share no participant with the cell, as in another process."""
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=domain)
    made = []

    def make(name):
        made.append(rclpy.create_node(name, context=context))
        return made[-1]

    yield make
    for node in made:
        node.destroy_node()
    rclpy.try_shutdown(context=context)


def test_an_unconfigured_node_is_told_how_to_configure(make_cell):
    found = look(make_cell())
    assert not found["well"]
    assert worst(found)["what"].startswith("is unconfigured")
    assert "ros2 lifecycle set /perception configure" in worst(found)["mend"]
    assert [cell["state"] for cell in found["cells"]] == ["unconfigured"]


def test_a_configure_that_was_refused_says_why(make_cell):
    cell = make_cell(defects__artifact="gone.onnx")
    assert not cell.transition("configure")
    finding = worst(look(cell))
    assert finding["what"].startswith("is unconfigured: cannot configure: ")
    assert "gone.onnx" in finding["what"]


def test_an_inactive_node_is_told_how_to_activate(make_cell):
    cell = make_cell()
    assert cell.transition("configure")
    found = look(cell)
    assert worst(found)["what"].startswith("is inactive")
    assert worst(found)["mend"] == "ros2 lifecycle set /perception activate"


def test_a_well_cell_is_well(make_cell, tmp_path):
    cell = make_cell(identification__reference_root=str(tmp_path))
    cell.start()
    cell.tell(colour_cell.manifest_text(colour_cell.write_references(tmp_path)))
    with Camera(cell):
        cell.answers("detections", 3)
        found = look(cell)
    assert [f for f in found["findings"] if f["level"] != OK] == []
    assert found["well"]
    assert doctor.exit_code(found) == 0
    assert "/perception is active" in doctor.describe(found)


def test_a_cell_without_a_camera_and_without_a_manifest(make_cell):
    cell = make_cell(input__stale_after_s=0.1)
    cell.start()
    cell.probe.destroy_publisher(cell.images)
    cell.probe.destroy_publisher(cell.compressed)
    cell.probe.destroy_publisher(cell.manifests)
    ros_health.wait(lambda: not cell.node.count_publishers("/image"))
    found = look(cell)
    camera = worst(found)
    assert (camera["level"], camera["complaint"]) == (ERROR, 1)
    assert "nobody publishes /image" in camera["what"]
    assert "start the camera driver" in camera["mend"]
    manifest = only(found, "has no manifest", "nobody publishes one")
    assert manifest["level"] == WARN
    assert found["findings"].index(manifest) > 0


def test_a_camera_on_another_topic_is_named(make_cell):
    cell = make_cell(input__stale_after_s=0.1)
    cell.start()
    cell.probe.destroy_publisher(cell.images)
    cell.probe.destroy_publisher(cell.compressed)
    cell.probe.create_publisher(messages.Image, "/driver/left/image_rect", 5)
    ros_health.wait(lambda: not cell.node.count_publishers("/image"))
    finding = worst(look(cell))
    assert "images are published on /driver/left/image_rect" in finding["what"]
    assert "remap" in finding["mend"]


def test_a_camera_that_sends_jpeg_to_a_cell_that_waits_for_raw_images(make_cell):
    cell = make_cell(input__stale_after_s=0.1)
    cell.start()
    cell.probe.destroy_publisher(cell.images)
    ros_health.wait(lambda: not cell.node.count_publishers("/image"))
    finding = worst(look(cell))
    assert finding["complaint"] == 9
    assert "/image/compressed is there" in finding["what"]
    assert "transport) to compressed" in finding["mend"]


def test_a_topic_of_another_type_is_told_of(make_cell, stranger):
    cell = make_cell(input__stale_after_s=0.1)
    cell.start()
    cell.probe.destroy_publisher(cell.images)
    stranger("driver").create_publisher(messages.CompressedImage, "image", 5)
    ros_health.wait(lambda: cell.node.count_publishers("/image"))
    finding = only(look(cell), "/image carries sensor_msgs/msg/CompressedImage")
    assert (finding["level"], finding["complaint"]) == (ERROR, 9)


def test_qos_that_does_not_fit_is_told_of_with_its_mend(make_cell):
    settings = {"qos_overrides./image.subscription.reliability": "reliable"}
    cell = make_cell(input__stale_after_s=0.1, **settings)
    assert cell.transition("configure")
    assert cell.transition("activate")
    cell.probe.destroy_publisher(cell.images)
    cell.probe.create_publisher(messages.Image, "image", ros_health.BEST_EFFORT)
    found = look(cell)
    finding = worst(found)
    assert "QoS mismatch on /image: nothing of /probe arrives" in finding["what"]
    assert "qos_overrides./image.subscription.reliability to best_effort" in finding["mend"]
    # one cause is told of once
    assert [f for f in found["findings"] if f["level"] == ERROR] == [finding]


def test_a_listener_that_cannot_hear_the_answers_is_named(make_cell):
    cell = make_cell()
    cell.start()
    cell.probe.create_subscription(
        pytest.importorskip("vision_msgs.msg").Detection2DArray,
        "perception/detections",
        print,
        ros_health.LATCHED,
    )
    finding = only(look(cell), "/perception/detections: /probe hears nothing")
    assert finding["level"] == WARN


def test_a_stale_camera_is_told_of(make_cell):
    cell = make_cell(input__stale_after_s=0.2)
    cell.start()
    cell.show(colour_cell.draw_tote(), stamp=divmod(time.time_ns(), 10**9))
    cell.answers("detections", 1)
    time.sleep(0.3)
    finding = worst(look(cell))
    assert (finding["level"], finding["complaint"]) == (ERROR, 1)
    assert "stale for" in finding["what"]
    assert "at the doctor neither" in finding["what"]
    assert "fastdds_shm.xml" in finding["mend"]


def test_a_cell_over_its_budget_says_which_stage(make_cell):
    cell = make_cell(health__budget_ms=1.0, health__error_after=2)
    cell.start()
    worker = cell.node.cell.worker
    worker.stages = dataclasses.replace(worker.stages, segmentation=Slow(worker.stages))
    with Camera(cell):
        cell.answers("detections", 3)
        found = look(cell)
    finding = only(found, "frames in a row took longer than the budget of 1 ms")
    assert (finding["level"], finding["complaint"]) == (ERROR, 6)
    assert "most of it is segment" in finding["what"]


def test_a_stream_that_is_switched_off_is_told_of(make_cell):
    cell = make_cell(input__enabled=False)
    cell.start()
    finding = only(look(cell), "the stream is switched off")
    assert finding["mend"] == "ros2 param set /perception input.enabled true"


def test_a_refused_manifest_comes_with_its_reason(make_cell):
    cell = make_cell()
    cell.start()
    cell.tell("{")
    cell.status("manifest", lambda status: "refused" in status.message)
    finding = only(look(cell), "manifest refused")
    assert "container_manifest.schema.json" in finding["mend"]


def test_two_nodes_of_one_name_are_the_first_thing_to_mend(make_cell, domain):
    from robollm_ros.perception_node import PerceptionNode

    cell = make_cell()
    second = PerceptionNode(context=cell.context)
    try:
        found = look(cell)
    finally:
        second.destroy_node()
    finding = only(found, "2 nodes have the same name")
    assert (finding["level"], finding["node"]) == (ERROR, "/perception")


def test_a_simulated_clock_that_nobody_plays_is_told_of(make_cell):
    cell = make_cell(use_sim_time=True)
    finding = only(look(cell), "nobody publishes /clock")
    assert "--clock" in finding["mend"]


def test_only_the_namespace_that_is_asked_for_counts(make_cell):
    cell = make_cell()
    found = look(cell, namespace="/other")
    assert found["cells"] == []
    assert "no perception node is among the" in worst(found)["what"]
    assert doctor.exit_code(found) == 1


def test_a_graph_without_a_perception_node(graph):
    found = look(graph)
    assert "no perception node" in worst(found)["what"]
    assert worst(found)["level"] == ERROR


def test_an_empty_graph_is_no_graph(domain):
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=domain)
    surveyor = survey_of.Surveyor(context)
    try:
        found = doctor.findings_tree(surveyor.survey(0.2))
    finally:
        surveyor.close()
        rclpy.try_shutdown(context=context)
    assert found["nodes"] == {}
    assert doctor.exit_code(found) == 2
    assert "ROS_DOMAIN_ID" in worst(found)["mend"]


def test_a_node_that_tells_nothing_is_told_of(make_cell):
    cell = make_cell(health__period_s=60.0)
    finding = only(look(cell), "nothing of it was heard on /diagnostics")
    assert finding["level"] == ERROR

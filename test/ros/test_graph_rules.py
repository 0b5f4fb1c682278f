# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The rules of the graph doctor, on surveys written by hand: each fault is told once, in order."""

import dataclasses

import pytest

pytest.importorskip("rclpy", reason="no ROS 2: neither the wheels nor a sourced installation")

qos = pytest.importorskip("rclpy.qos")
seen = pytest.importorskip("robollm_ros.graph_seen")
rules = pytest.importorskip("robollm_ros.graph_rules")
survey_of = pytest.importorskip("robollm_ros.graph_survey")

OK, WARN, ERROR = seen.OK, seen.WARN, seen.ERROR
CELL = "/cell/perception"
TOPIC = "/cell/tote/image"
IMAGE, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
BEST_EFFORT = qos.QoSProfile(depth=5, reliability=qos.ReliabilityPolicy.BEST_EFFORT)
RELIABLE = qos.QoSProfile(depth=5, reliability=qos.ReliabilityPolicy.RELIABLE)
FLOWING = {"topic": TOPIC, "received": "100", "processed": "90", "dropped_mailbox": "10",
           "age_p50_ms": "3.0", "frame_id": "tote"}  # fmt: skip


def status(level=OK, message="", **values):
    return seen.StatusSeen(level, message, values)


def end(node, kind=IMAGE, profile=BEST_EFFORT):
    return seen.Endpoint(node, kind, profile)


def flowing(**changes):
    return {"input/tote": status(**{**FLOWING, **changes})}


def survey(statuses, topics=None, frames=None, state="active", **parameters):
    """A graph of one driver and one cell, which is well but for what is given."""
    if topics is None:
        topics = {TOPIC: seen.TopicSeen((end("/driver"),), (end(CELL),))}
    cell = seen.CellSeen(CELL, state, {"lifecycle": status(message=state), **statuses}, parameters)
    return seen.Survey({CELL: 1, "/driver": 1}, {CELL: cell}, topics, 5.0, frames or {})


def judged(*arguments, **keywords):
    return rules.judge(survey(*arguments, **keywords))


MISSED = {"input/tote": status(ERROR, "stale for 9.0 s: it has; look", topic=TOPIC, received="5",
                               age_p50_ms="1", frame_id="tote")}  # fmt: skip


def test_a_cell_that_is_well_has_no_finding():
    assert judged(flowing()) == ()


@pytest.mark.parametrize(
    ("changes", "level", "complaint", "said"),
    [
        ({"age_p50_ms": "900"}, WARN, 6, "frames are 0.9 s old"),
        ({"frame_id": ""}, OK, 5, "frame_id is empty"),
        ({"dropped_mailbox": "80", "processed": "20"}, OK, 6, "20 of 100 frames were answered"),
    ],
)
def test_frames_that_flow_badly(changes, level, complaint, said):
    (finding,) = judged(flowing(**changes))
    assert (finding.level, finding.complaint) == (level, complaint)
    assert said in finding.what


def test_stamps_of_which_no_age_is_known_are_a_note():
    statuses = flowing()
    values = {name: text for name, text in FLOWING.items() if name != "age_p50_ms"}
    statuses["input/tote"] = seen.StatusSeen(OK, "", values)
    (finding,) = judged(statuses)
    assert (finding.level, finding.complaint) == (OK, 5)


@pytest.mark.parametrize(("heard", "said"), [(0, "at the doctor neither"), (7, "7 frame(s)")])
def test_a_camera_that_is_missed_is_compared_with_what_the_doctor_hears(heard, said):
    (finding,) = judged(MISSED, frames={TOPIC: heard})
    assert finding.level == ERROR
    assert said in finding.what


def test_a_mismatch_of_qos_is_told_once_for_each_pair():
    topics = {
        TOPIC: seen.TopicSeen((end("/driver"), end("/second")), (end(CELL, IMAGE, RELIABLE),))
    }
    found = [f for f in judged(MISSED, topics) if "QoS" in f.what]
    assert [finding.level for finding in found] == [ERROR, ERROR]
    assert all("QoS mismatch" in finding.what for finding in found)
    assert {"/driver" in finding.what for finding in found} == {True, False}


def test_two_drivers_on_one_topic_are_told_of():
    topics = {TOPIC: seen.TopicSeen((end("/left"), end("/right")), (end(CELL),))}
    (finding,) = judged(flowing(), topics)
    assert (finding.level, finding.complaint) == (WARN, 2)
    assert "(/left, /right): frames of several cameras are mixed" in finding.what


def test_strangers_that_do_not_fit_each_other_are_not_our_business():
    topics = {"/other": seen.TopicSeen((end("/a"),), (end("/b", IMAGE, RELIABLE),))}
    assert (
        judged(flowing(), topics | {TOPIC: seen.TopicSeen((end("/driver"),), (end(CELL),))}) == ()
    )


def test_what_a_cell_draws_itself_is_not_proposed_as_a_camera():
    topics = {
        f"{CELL}/overlay": seen.TopicSeen((end(CELL),), ()),
        TOPIC: seen.TopicSeen((), (end(CELL),)),
    }
    (finding,) = judged(MISSED, topics)
    assert "overlay" not in finding.what
    assert "start the camera driver" in finding.mend


def test_errors_come_before_warnings_before_notes_and_then_in_the_order_of_the_page():
    statuses = {
        **flowing(frame_id=""),
        "manifest": status(WARN, "none yet"),
        "errors": status(ERROR, "image: no step"),
        "latency": status(WARN, "slow"),
        "model": status(ERROR, "failed 5 times"),
    }
    found = judged(statuses)
    assert [(f.level, f.complaint) for f in found] == [
        (ERROR, 8), (ERROR, 14), (WARN, 6), (WARN, 10), (OK, 5),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "complaint"),
    [("model", 8), ("gallery", 10), ("errors", 14), ("pick", 14), ("gpu", 15)],
)
def test_a_status_without_a_rule_of_its_own_is_told_as_it_is(name, complaint):
    (finding,) = judged({**flowing(), name: status(ERROR, "broken")})
    assert (finding.what, finding.complaint) == (f"{name}: broken", complaint)
    assert finding.mend


@pytest.mark.parametrize("state", ["unconfigured", "finalized"])
def test_a_cell_that_does_not_run_is_told_of_that_alone(state):
    statuses = {**MISSED, "manifest": status(WARN, "none yet"), "model": status(WARN, "not loaded")}
    (finding,) = judged(statuses, state=state)
    assert finding.what.startswith(f"is {state}")


def test_a_cell_that_loads_is_to_be_waited_for():
    statuses = {"lifecycle": status(WARN, "configuring: loading segmentation.onnx on auto, 35 s")}
    (finding,) = judged(statuses, state="")
    assert (finding.level, finding.complaint) == (WARN, 7)


def test_a_cell_that_answers_nothing_is_an_error():
    cell = seen.CellSeen(CELL, "")
    (finding,) = rules.judge(seen.Survey({CELL: 1}, {CELL: cell}, {}, 5.0))
    assert (finding.level, finding.what) == (ERROR, "is in the graph and answers nothing")


def test_a_manifest_elsewhere_is_named():
    topics = {
        TOPIC: seen.TopicSeen((end("/driver"),), (end(CELL),)),
        "/wms/container/manifest": seen.TopicSeen((end("/wms"),), ()),
    }
    (finding,) = judged({**flowing(), "manifest": status(WARN, "none yet")}, topics)
    assert "one is published on /wms/container/manifest" in finding.what
    assert "/cell/container/manifest" in finding.mend


def test_twins_of_others_are_a_warning_and_of_cells_an_error():
    known = survey(flowing())
    for name, level in (("/driver", WARN), (CELL, ERROR)):
        nodes = {**known.nodes, name: 2}
        (finding,) = rules.judge(dataclasses.replace(known, nodes=nodes))
        assert (finding.level, finding.node) == (level, name)


def test_frames_are_counted_only_where_they_are_missed_and_published():
    topics = {
        TOPIC: seen.TopicSeen((end("/driver"),), (end(CELL),)),
        "/b": seen.TopicSeen((), ()),
        "/c": seen.TopicSeen((end("/odd", "std_msgs/msg/String"),), ()),
    }
    statuses = {
        **MISSED,
        "input/b": status(ERROR, "stale", topic="/b"),
        "input/c": status(ERROR, "stale", topic="/c"),
        "input/d": status(ERROR, "stale", topic="/d"),
        "input/e": status(OK, "", topic=TOPIC),
    }
    cells = survey(statuses).cells.values()
    assert survey_of.missed(cells, topics) == {TOPIC: IMAGE}
    assert survey_of.missed(survey(flowing()).cells.values(), topics) == {}

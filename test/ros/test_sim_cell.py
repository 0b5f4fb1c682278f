# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The simulated cell on a real graph: what is published, when, and how it is accounted for."""

import json
import signal
import time

import pytest

pytest.importorskip("rclpy", reason="no ROS 2: neither the wheels nor a sourced installation")
pytest.importorskip("vision_msgs", reason="vision_msgs is not installed")
pytest.importorskip("onnx", reason="the hand-drawn cell needs onnx")

import small_sim
from ros_ear import Ear
from ros_programs import Programs

from robollm_core.errors import ImageError
from robollm_core.images import decode_image
from robollm_core.picks.event import parse_pick_event
from robollm_core.synthetic.states import HELD_CAMERAS

pytestmark = pytest.mark.ros

CAMERAS = ("tote_top", *HELD_CAMERAS)


@pytest.fixture
def programs(domain):
    running = Programs(domain)
    yield running
    running.kill()


@pytest.fixture
def folder(tmp_path):
    small_sim.write_cell_states(tmp_path / "cell")
    return tmp_path / "cell"


@pytest.fixture
def ear(domain):
    made = []

    def make(topics, raw=False):
        made.append(Ear(domain, topics, raw))
        return made[-1]

    yield make
    for each in made:
        each.close()


def start(programs, folder, **parameters):
    given = {"cell_folder": folder, "states": 0, "wait_s": 20.0, "listener": "ear", **parameters}
    words = [word for name, value in given.items() for word in ("-p", f"{name}:={value}")]
    return programs.start("-m", "robollm_ros.sim_cell_node", "--ros-args", *words)


def stamp_ns(message):
    return message.header.stamp.sec * 10**9 + message.header.stamp.nanosec


def sent(program):
    (line,) = [line for line in program.lines if line.startswith("sent: ")]
    return json.loads(line.removeprefix("sent: "))


@pytest.fixture(params=[False, True], ids=["compressed", "raw"])
def played(request, programs, folder, ear, tmp_path):
    """What was heard of 30 frames of four cameras, and the program that played them."""
    ear = ear([f"{name}/image" for name in CAMERAS], request.param)
    cell = start(
        programs, folder, cameras="all", rate_hz=20.0, picks_per_s=4.0, frames=30,
        report=tmp_path / "r.json", transport="raw" if request.param else "compressed",
    )  # fmt: skip
    ear.listen(lambda: any(line.startswith("sent: ") for line in cell.lines))
    assert cell.end() == 0
    assert cell.errors == []
    assert sent(cell) == json.loads((tmp_path / "r.json").read_text())
    return ear, cell


@pytest.mark.slow
def test_four_cameras_picks_and_manifests_come_with_fresh_stamps(played):
    ear, cell = played
    frames = {name: ear.heard[f"{name}/image"] for name in CAMERAS}
    counts = {name: told["sent"] for name, told in sent(cell)["frames"].items()}
    assert {name: len(frames[name]) for name in CAMERAS} == counts
    assert counts["tote_top"] == 30
    stamps = {name: [stamp_ns(message) for message in frames[name]] for name in CAMERAS}
    for name in CAMERAS:
        assert {message.header.frame_id for message in frames[name]} == {name}
        assert stamps[name] == sorted(stamps[name])
        assert time.time_ns() - 60e9 < stamps[name][0] and stamps[name][-1] < time.time_ns()
    gaps = [b - a for a, b in zip(stamps["tote_top"], stamps["tote_top"][1:], strict=False)]
    assert sorted(gaps)[15] == pytest.approx(50e6, rel=0.3)
    assert [truth["stamp_ns"] for truth in ear.trees("ground_truth")] == stamps["tote_top"]
    check_picks(ear, stamps)


def check_picks(ear, stamps):
    events = [parse_pick_event(text, "the cell") for text in ear.heard["pick/event"]]
    picks = ear.trees("ground_truth/picks")
    assert [event.event_id for event in events] == [pick["event_id"] for pick in picks]
    assert len({event.event_id for event in events}) == len(events) >= 12
    for event, pick in zip(events, picks, strict=True):
        for view in event.views:
            assert view.match == "exact"
            assert view.stamp_ns in stamps[view.camera]
            assert pick["views"][view.camera] == view.stamp_ns
            named = view.camera in HELD_CAMERAS[:2]  # for the third the cell does not know where
            assert (view.roi_xyxy_px is not None) == named
        assert pick["listeners"] == 1 and pick["lost"] == {}
        assert pick["item_ids"][0] in small_sim.ORDER
    manifests = ear.trees("container/manifest")
    told = {(tree["container_id"], tree["version"]) for tree in manifests}
    assert {(event.container_id, event.manifest_version) for event in events} <= told
    assert ear.trees("ground_truth/faults") == []


@pytest.mark.slow
def test_one_camera_speaks_on_the_plain_topic_by_default(programs, folder, ear):
    ear = ear(["image"])
    cell = start(programs, folder, rate_hz=20.0, picks_per_s=2.0, frames=20)
    ear.listen(lambda: any(line.startswith("sent: ") for line in cell.lines))
    assert cell.end() == 0
    assert {message.header.frame_id for message in ear.heard["image"]} == {"tote_camera"}
    events = [parse_pick_event(text, "the cell") for text in ear.heard["pick/event"]]
    assert {event.phase for event in events} == {"pre_pick"}
    assert {view.camera for event in events for view in event.views} == {"tote_camera"}


@pytest.mark.slow
@pytest.mark.parametrize("raw", [False, True])
def test_every_message_a_fault_touched_is_told_and_all_counts_agree(programs, folder, ear, raw):
    ear = ear([f"{name}/image" for name in CAMERAS], raw)
    cell = start(
        programs, folder, cameras="all", rate_hz=30.0, picks_per_s=5.0, frames=240, seed=3,
        faults="random=300", transport="raw" if raw else "compressed",
    )  # fmt: skip
    ear.listen(lambda: any(line.startswith("sent: ") for line in cell.lines))
    assert cell.end() == 0
    assert cell.errors == []
    report, faults = sent(cell), ear.trees("ground_truth/faults")
    counted = {}
    for fault in faults:
        of_name = counted.setdefault(fault["fault"], {})
        of_name[fault["did"]] = of_name.get(fault["did"], 0) + 1
    assert counted == report["faults"]
    assert len(counted) == 10
    lost = {"withheld": set(), "altered": set()}
    for fault in faults:
        if fault["fault"] in ("blackout", "missing_view", "cancelled_pick") and "stamp_ns" in fault:
            lost["withheld"].add((fault["camera"], fault["stamp_ns"]))
        if fault["fault"] == "corrupt_image":
            lost["altered"].add((fault["camera"], fault["stamp_ns"]))
    arrived = {(n, stamp_ns(m)) for n in CAMERAS for m in ear.heard[f"{n}/image"]}
    assert not arrived & lost["withheld"]
    for name in CAMERAS:
        counts = report["frames"][name]
        assert len(ear.heard[f"{name}/image"]) == counts["sent"]
        assert sum(camera == name for camera, _ in lost["withheld"]) == counts.get("withheld", 0)
        for message in ear.heard[f"{name}/image"]:
            if (name, stamp_ns(message)) in lost["altered"]:
                assert is_broken(message, raw)
    assert len(ear.heard["pick/event"]) == sum(report["events"].values())
    assert len(ear.heard["ground_truth/picks"]) == len(ear.heard["pick/event"])


def is_broken(message, raw):
    if raw:
        return message.step * message.height != len(message.data)
    try:
        decode_image(message.data.tobytes(), "a frame")
    except ImageError:
        return True
    return False


@pytest.mark.slow
@pytest.mark.parametrize("ask", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_within_two_seconds_when_asked_while_somebody_listens(programs, folder, ear, ask):
    ear = ear([f"{name}/image" for name in CAMERAS])
    cell = start(programs, folder, cameras="all", rate_hz=30.0, picks_per_s=5.0)
    ear.listen(lambda: len(ear.heard["tote_top/image"]) >= 10)
    # the listener is deaf from here on: nothing may wait for it
    asked = time.monotonic()
    assert cell.end(ask) == 0
    assert time.monotonic() - asked < 2.0
    assert cell.errors == []
    assert sent(cell)["frames"]["tote_top"]["sent"] >= 10


@pytest.mark.parametrize("ask", [signal.SIGINT, signal.SIGTERM])
def test_it_ends_within_two_seconds_while_it_waits_for_listeners(programs, folder, ask):
    cell = start(programs, folder, wait_s=600.0)
    time.sleep(1.5)
    asked = time.monotonic()
    assert cell.end(ask) == 0
    assert time.monotonic() - asked < 2.0


@pytest.mark.slow
def test_it_ends_within_two_seconds_while_it_renders(programs, tmp_path):
    pytest.importorskip("mujoco", reason="rendering needs robollm[sim]")
    cell = start(programs, tmp_path / "new", states=100_000)
    cell.wait_for("rendered 2 of 100000")
    asked = time.monotonic()
    assert cell.end(signal.SIGTERM) == 0
    assert time.monotonic() - asked < 2.0
    assert cell.errors == []
    assert not (tmp_path / "new").exists()


@pytest.mark.slow
def test_what_was_rendered_once_is_played_at_once(programs, tmp_path):
    pytest.importorskip("mujoco", reason="rendering needs robollm[sim]")
    folder = tmp_path / "new"
    for number in range(2):
        cell = start(programs, folder, states=2, seed=5, frames=2, rate_hz=20.0, wait_s=0.0)
        assert cell.end() == 0, cell.errors
        assert any("rendered 2 of 2" in line for line in cell.lines) == (number == 0)
    assert sorted(path.name for path in folder.iterdir()) == ["references", "states"]


def refused(program):
    assert program.end() == 2
    (line,) = program.errors
    assert line.startswith("robollm: ")
    return line


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"faults": "blurr"}, "no fault 'blurr'"),
        ({"rate_hz": 1.0, "picks_per_s": 2.0}, "picks_per_s must not exceed rate_hz"),
        ({"cameras": "three"}, "one of tote, all"),
    ],
)
def test_a_wrong_wish_is_refused_in_one_line(programs, folder, parameters, words):
    assert words in refused(start(programs, folder, **parameters))


def test_a_folder_without_a_cell_is_refused_and_not_filled(programs, tmp_path):
    line = refused(start(programs, tmp_path / "none"))
    assert "no rendered cell" in line and "robollm synth cell" in line
    assert list(tmp_path.iterdir()) == []


def test_help_lists_every_parameter_and_starts_nothing(programs):
    from robollm_ros.sim_cell_node import PARAMETERS

    program = programs.start("-m", "robollm_ros.sim_cell_node", "--help")
    assert program.end() == 0
    assert program.errors == []
    page = "\n".join(program.lines)
    assert page.startswith("usage: sim_cell_node")
    assert all(f"\n  {leaf.name} (default " in page for leaf in PARAMETERS)
    assert "A robot cell without a robot" in page


def test_words_that_nobody_reads_are_refused(programs):
    line = refused(programs.start("-m", "robollm_ros.sim_cell_node", "rate_hz:=3"))
    assert "rate_hz:=3" in line and "--help" in line

# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The security policy allows each node what it really has in the graph, and nothing else."""

import asyncio
import json
import re
import threading
from pathlib import Path
from xml.etree import ElementTree

import pytest

pytest.importorskip("rclpy", reason="no ROS 2: neither the wheels nor a sourced installation")
pytest.importorskip("vision_msgs", reason="vision_msgs is not installed")
pytest.importorskip("cv2", reason="OpenCV is not installed")
pytest.importorskip("colour_cell", reason="the stand-in networks need onnx")

import colour_cell
import rclpy
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from ros_domain import lend_domain
from ros_graph import endpoints, leave, read_policy, settled
from ros_programs import Programs

from robollm_core.data import rostypes
from robollm_core.data.bagwriter import BagWriter, Topic

pytestmark = pytest.mark.ros

POLICY = Path(__file__).parents[2] / "config/sros2/policy.xml"
CAMERAS = ["tote_top", "tote_wall", "on_arm_low", "far_tray"]
OF_ROS = {
    ("topic", "publish", "/rosout"),
    ("topic", "publish", "/parameter_events"),
}
PARAMETER_SERVICES = {
    "describe_parameters", "get_parameter_types", "get_parameters", "list_parameters",
    "set_parameters", "set_parameters_atomically",
}  # fmt: skip
LIFECYCLE_SERVICES = {
    "change_state", "get_available_states", "get_available_transitions", "get_state",
    "get_transition_graph",
}  # fmt: skip


def enclave(node):
    return f"/robollm/{node}"


@pytest.fixture
def probe(domain):
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=domain)
    node = rclpy.create_node("probe", context=context)
    yield node
    node.destroy_node()
    rclpy.try_shutdown(context=context)


@pytest.fixture
def programs(domain):
    running = Programs(domain)
    yield running
    running.kill()


def perception(settings):
    """What an active perception node has, on a domain of its own: names must not meet again."""
    from robollm_ros.perception_node import PerceptionNode

    context = rclpy.Context()
    with lend_domain() as domain:
        rclpy.init(context=context, domain_id=domain)
        overrides = [Parameter(name, value=value) for name, value in settings.items()]
        node = PerceptionNode(context=context, parameter_overrides=overrides)
        try:
            assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS
            assert node.trigger_activate() == TransitionCallbackReturn.SUCCESS
            return endpoints(node, "perception")
        finally:
            node.trigger_shutdown()
            node.destroy_node()
            rclpy.try_shutdown(context=context)


def perception_in_every_form(settings):
    """What it has with one camera or those of the simulated cell, raw or compressed."""
    forms = [
        {"input.transport": transport, **cameras}
        for transport in ("raw", "compressed")
        for cameras in ({}, {"camera_names": CAMERAS})
    ]
    return set().union(*(perception({**settings, **form}) for form in forms))


def transported(topic, transport):
    """The full name of an image topic."""
    return f"/{topic}/compressed" if transport == "compressed" else f"/{topic}"


def sim_cell(programs, probe, folder):
    """What the simulated cell has, in each of its forms."""
    from small_sim import write_cell_states

    write_cell_states(folder)
    found = set()
    for cameras, last in (("tote", "image"), ("all", "far_tray/image")):
        for transport in ("raw", "compressed"):
            values = {
                "cameras": cameras,
                "transport": transport,
                "states": 0,
                "cell_folder": folder,
                "picks_per_s": 1.0,
            }
            words = [word for name, value in values.items() for word in ("-p", f"{name}:={value}")]
            program = programs.start("-m", "robollm_ros.sim_cell_node", "--ros-args", *words)
            found |= settled(probe, "sim_cell", ["/pick/event", transported(last, transport)])
            leave(program, probe, "sim_cell")
    return found


def write_bags(folder):
    """Bags of one camera and of four with pick events, raw and compressed, by last image topic."""
    event = {"schema": "robollm.pick_event/1", "event_id": "e", "pick_id": "p",
             "phase": "pre_pick", "views": [{"camera": CAMERAS[0], "match": "latest"}]}  # fmt: skip
    found = {}
    for raw in (True, False):
        one = folder / f"one_{raw}.mcap"
        colour_cell.write_bag(one, frames=1, raw=raw)
        end = "" if raw else "/compressed"
        found[f"/image{end}"] = one
        kind = rostypes.IMAGE if raw else rostypes.COMPRESSED
        images = [Topic(f"/{camera}/image{end}", kind) for camera in CAMERAS]
        manifest = Topic("/container/manifest", rostypes.STRING, latched=True)
        picks = Topic("/pick/event", rostypes.STRING)
        with BagWriter(folder / f"four_{raw}.mcap", [manifest, picks, *images]) as bag:
            text = colour_cell.manifest_text(colour_cell.write_references(folder))
            bag.write(manifest.name, 10**9, rostypes.make(rostypes.STRING, data=text))
            for image in images:
                shown = colour_cell.image_message(colour_cell.draw_tote(), 2 * 10**9, raw)
                bag.write(image.name, 2 * 10**9, shown)
            text = json.dumps(event)
            bag.write(picks.name, 3 * 10**9, rostypes.make(rostypes.STRING, data=text))
        found[f"/{CAMERAS[-1]}/image{end}"] = folder / f"four_{raw}.mcap"
    return found


def bag_player(programs, probe, folder):
    """What the player has with such bags, in lockstep, and with a clock."""
    found = set()
    for topic, bag in write_bags(folder).items():
        for more in (("--clock",), ("--lockstep",)):
            program = programs.start("-m", "robollm_ros.bag_player", bag, *more)
            found |= settled(probe, "bag_player", [topic])
            leave(program, probe, "bag_player")
    return found


def recorder(programs, probe, folder):
    """What the recorder has when it records everything."""
    program = programs.start("-m", "robollm_ros.recorder", folder / "out.mcap", "--overlay")
    found = settled(probe, "recorder", ["/perception/overlay"])
    leave(program, probe, "recorder")
    return found


def view(programs, probe, domain, settings):
    """What the live view has while a browser looks at a cell, in its forms."""
    found = set()
    for cameras in ((), CAMERAS):
        for transport in ("raw", "compressed"):
            form = {**settings, "input.transport": transport}
            form |= {"camera_names": f"[{', '.join(cameras)}]"} if cameras else {}
            node = programs.perception(form)
            topic = transported(f"{cameras[-1]}/image" if cameras else "image", transport)
            found |= looked_at(programs, probe, topic)
            leave(node, probe, "perception")
    return found


def looked_at(programs, probe, topic):
    import aiohttp

    program = programs.start("-m", "robollm_ros.view_node", "--port", "0")
    program.wait_for("ready: ")
    url = next(line for line in program.lines if line.startswith("ready: "))[7:]
    done = threading.Event()

    async def look():
        async with aiohttp.ClientSession() as session, session.ws_connect(f"{url}live"):
            while not done.is_set():
                await asyncio.sleep(0.05)

    browser = threading.Thread(target=asyncio.run, args=(look(),))
    browser.start()
    try:
        return settled(probe, "view", [topic, "/perception/masks"])
    finally:
        done.set()
        browser.join()
        leave(program, probe, "view")


def test_the_policy_has_the_form_of_sros2():
    root = ElementTree.parse(POLICY).getroot()
    assert (root.tag, root.get("version")) == ("policy", "0.2.0")
    assert [child.tag for child in root] == ["enclaves"]
    paths = [one.get("path") for one in root[0]]
    assert {one.tag for one in root[0]} == {"enclave"}
    assert len(set(paths)) == len(paths) == 5
    verbs = {
        "topics": ({"publish", "subscribe"}, "topic"),
        "services": ({"reply", "request"}, "service"),
    }
    for one in root[0]:
        assert re.fullmatch(r"/robollm/[a-z_]+", one.get("path"))
        assert [child.tag for child in one] == ["profiles"]
        for profile in one[0]:
            assert (profile.tag, set(profile.attrib)) == ("profile", {"ns", "node"})
            assert one.get("path") == f"/robollm/{profile.get('node')}"
            for block in profile:
                allowed, child = verbs[block.tag]
                assert set(block.attrib) <= allowed
                assert set(block.attrib.values()) == {"ALLOW"}
                assert {expression.tag for expression in block} == {child}


def test_no_rule_stands_for_many_names():
    for rules in read_policy(POLICY).values():
        assert rules
        for _, _, name in rules:
            assert re.fullmatch(r"(/[A-Za-z_][A-Za-z0-9_]*)+", name), name


@pytest.mark.parametrize("node", ["perception", "sim_cell", "bag_player", "recorder", "view"])
def test_every_node_may_log_and_answer_for_its_parameters(node):
    rules = read_policy(POLICY)[enclave(node)]
    services = PARAMETER_SERVICES | (LIFECYCLE_SERVICES if node == "perception" else set())
    assert rules >= OF_ROS | {("service", "reply", f"/{node}/{name}") for name in services}


def test_only_the_perception_node_answers_for_a_lifecycle():
    for path, rules in read_policy(POLICY).items():
        ends = {name.rpartition("/")[2] for kind, verb, name in rules if verb == "reply"}
        assert (path == enclave("perception")) == bool(ends & LIFECYCLE_SERVICES), path


def test_who_only_looks_publishes_nothing_and_asks_nothing():
    for node in ("view", "recorder"):
        rules = read_policy(POLICY)[enclave(node)]
        assert {rule for rule in rules if rule[1] == "publish"} == OF_ROS
        assert not {rule for rule in rules if rule[1] == "request"}


def test_the_perception_node_may_do_what_it_does_and_no_more(stand_ins):
    assert perception_in_every_form(stand_ins) == read_policy(POLICY)[enclave("perception")]


@pytest.mark.slow
def test_the_simulated_cell_may_do_what_it_does_and_no_more(programs, probe, tmp_path):
    pytest.importorskip("small_sim")
    assert sim_cell(programs, probe, tmp_path) == read_policy(POLICY)[enclave("sim_cell")]


@pytest.mark.slow
def test_the_bag_player_may_do_what_it_does_and_no_more(programs, probe, tmp_path):
    assert bag_player(programs, probe, tmp_path) == read_policy(POLICY)[enclave("bag_player")]


@pytest.mark.slow
def test_the_recorder_may_do_what_it_does_and_no_more(programs, probe, tmp_path):
    assert recorder(programs, probe, tmp_path) == read_policy(POLICY)[enclave("recorder")]


@pytest.mark.slow
def test_the_view_may_do_what_it_does_and_no_more(programs, probe, domain, stand_ins):
    pytest.importorskip("aiohttp", reason="the view needs aiohttp: pip install '.[view]'")
    assert view(programs, probe, domain, stand_ins) == read_policy(POLICY)[enclave("view")]

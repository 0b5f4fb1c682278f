# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""An attacker who may publish tries to make the node open files; all it opens is recorded."""

import json
import os
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="no ROS 2: neither the wheels nor a sourced installation")
pytest.importorskip("vision_msgs", reason="vision_msgs is not installed")
pytest.importorskip("cv2", reason="OpenCV is not installed")
pytest.importorskip("colour_cell", reason="the stand-in networks need onnx")

from colour_cell import draw_tote, write_references
from std_msgs.msg import String
from std_srvs.srv import Trigger

pytestmark = pytest.mark.ros

OPENING = {
    "open", "os.open", "os.listdir", "os.scandir", "os.rename", "os.remove", "os.mkdir", "os.link",
    "os.symlink", "os.truncate", "shutil.copyfile", "subprocess.Popen", "os.system", "os.exec",
    "socket.connect", "sqlite3.connect", "ctypes.dlopen",
}  # fmt: skip
# what Python and ROS read on their own account
LIBRARIES = tuple(
    os.path.realpath(folder)
    for folder in {sys.prefix, sys.base_prefix, Path(__file__).parents[2], "/usr/lib", "/usr/share"}
)
_heard = None


def _listen(event, arguments):
    if _heard is not None and event in OPENING and arguments:
        _heard.append((event, arguments[0]))


sys.addaudithook(_listen)


@pytest.fixture
def opened(monkeypatch):
    """All that this process opens while the test runs, as (event, path)."""
    monkeypatch.setattr(sys.modules[__name__], "_heard", [])
    return _heard


@pytest.fixture
def place(tmp_path):
    """A reference root, and beside it what nobody may read."""
    root = tmp_path / "root"
    root.mkdir()
    write_references(root)
    (tmp_path / "secret.png").write_bytes((root / "references/apple.png").read_bytes())
    (tmp_path / "root-2").mkdir()
    (tmp_path / "root-2/secret.png").write_bytes(b"secret")
    (root / "leak.png").symlink_to(tmp_path / "secret.png")
    (root / "away").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "pipe.png")
    os.mkfifo(root / "pipe.png")
    return root


def outside(opened, *allowed):
    """What was opened beyond the allowed folders and the libraries."""
    found = []
    for event, path in list(opened):
        if isinstance(path, int):
            continue
        name = os.fsdecode(path) if isinstance(path, str | bytes | os.PathLike) else repr(path)
        real = os.path.realpath(name)
        if not real.startswith((*map(str, allowed), *LIBRARIES)):
            found.append((event, name))
    return found


def hostile(place):
    """References that lead out of the root, or nowhere."""
    secret = place.parent / "secret.png"
    return [
        str(secret), "../secret.png", "references/../../secret.png", "leak.png", "away/secret.png",
        "../root-2/secret.png", "../pipe.png", "pipe.png", "/etc/passwd", "/dev/zero", "/dev/stdin",
        "/proc/self/environ", "/proc/self/mem", "//etc/passwd", "file:///etc/passwd",
        "~/.ssh/id_rsa", "$HOME/.ssh", "http://127.0.0.1:1/x.png", "\\\\server\\share\\x.png", "..",
        "../", "/", ".", "x" * 400, "\u202e../secret.png", "..\\secret.png", "%2e%2e/secret.png",
        "references", "|touch owned", "; touch owned", "`touch owned`", "$(touch owned)",
        "references/apple.png",
    ]  # fmt: skip


def settle(cell, seconds=1.0):
    """Let the threads of the node finish what they were told."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.05)
    assert cell.node.get_name() == "perception"


def test_a_manifest_opens_nothing_outside_the_reference_root(make_cell, place, opened, tmp_path):
    cell = make_cell(identification__reference_root=str(place))
    cell.start()
    settle(cell, 0.5)
    opened.clear()
    names = hostile(place)
    products = [
        {"product_id": f"item-{index}", "reference_images": [name]}
        for index, name in enumerate(names)
    ]
    cell.tell({"container_id": "../../T", "version": 1, "products": products})
    # one of the references is good: the manifest comes into force
    cell.status("manifest", lambda s: str(len(names)) in s.message or s.level == b"\x00")
    settle(cell)
    assert outside(opened, place) == []
    real = {os.path.realpath(os.fsdecode(p)) for _, p in opened if isinstance(p, str | bytes)}
    assert str(place / "references/apple.png") in real  # the recording sees what the node does
    cell.show(draw_tote())
    assert len(cell.answers("detections", 1)[0].detections) == 3
    assert not list(tmp_path.rglob("owned"))


def test_texts_that_look_like_paths_are_texts(make_cell, place, opened, tmp_path):
    cell = make_cell(
        identification__reference_root=str(place), debug_folder=str(tmp_path / "debug")
    )
    cell.start()
    events = cell.probe.create_publisher(String, "pick/event", 20)
    cell.wait(events.get_subscription_count, "the node to listen to pick events")
    settle(cell, 0.5)
    opened.clear()
    names = ["../../out", "/etc/passwd", "..", "a/../../b", "$(touch owned)"]
    for number, name in enumerate(names):
        products = [{"product_id": f"{name}", "reference_images": ["references/apple.png"]}]
        cell.tell({"container_id": name, "version": number, "products": products})
        cell.show(draw_tote(), stamp=(10 + number, 0), frame_id=name)
        view = {"camera": name, "role": "pick", "match": "latest"}
        tree = {"schema": "robollm.pick_event/1", "event_id": name, "pick_id": name,
                "phase": "pre_pick", "deadline_ms": 50, "views": [view],
                "selection": {"detection_id": f"{name}/1/0"}}  # fmt: skip
        events.publish(String(data=json.dumps(tree)))
        settle(cell, 0.2)
    answer = cell.call(Trigger, "perception/save_debug_frame", Trigger.Request())
    assert answer.success, answer.message
    files = [Path(one) for one in json.loads(answer.message)["files"]]
    assert files
    assert all(one.parent == tmp_path / "debug" for one in files)
    settle(cell)
    assert outside(opened, place, tmp_path / "debug") == []
    assert not list(tmp_path.rglob("owned"))
    assert {one.name for one in tmp_path.iterdir()} <= {
        "root", "root-2", "secret.png", "pipe.png", "debug",
    }  # fmt: skip


def test_a_foreign_hand_cannot_move_the_roots_of_an_active_node(make_cell, place):
    cell = make_cell(identification__reference_root=str(place))
    cell.start()
    for name in (
        "identification.reference_root", "identification.gallery", "segmentation.artifact",
        "identification.artifact", "defects.artifact", "runtime.bundle", "runtime.cache",
        "debug_folder",
    ):  # fmt: skip
        result = cell.set_parameter(name, "/etc")
        assert not result.successful, name

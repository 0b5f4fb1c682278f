# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Publishes the steps of a simulated cell, with fresh stamps, and keeps account of them."""

import array
import json
import time
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from builtin_interfaces.msg import Time
from rclpy.duration import Duration
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header, String

from robollm_core.data.bag import MANIFEST_TOPIC, PICK_TOPIC, TRUTH_TOPIC
from robollm_core.images import decode_image
from robollm_ros.conversions import image_message, json_message
from robollm_ros.qos import LATCHED
from robollm_ros.sim_planner import Planner
from robollm_ros.sim_script import Manifest, Mark, PickEvent, Picture, Step

PICKS_TRUTH, FAULTS_TRUTH = f"{TRUTH_TOPIC}/picks", f"{TRUTH_TOPIC}/faults"
"""Topics of their own: every message on `ground_truth` is the truth of a frame."""
_ACK_S, _LAST_S = 0.2, 0.5
_PLANNED = 3
"""So many frames old may the one be that a grasp is planned on: the node forgets older ones."""
_WORDS = {"pre_pick": "pick", "post_pick": "post"}


@dataclass(frozen=True, slots=True)
class _View:
    """The newest frame of a camera: its stamp, and which fault keeps it from its readers."""

    stamp_ns: int
    lost: str = ""


class Outlet:
    """The topics of a simulated cell.

    Attributes:
        counts: what went out, by the path of what it is.
    """

    def __init__(self, node: Node, topics: Mapping[str, str], raw: bool) -> None:
        """Make the publishers.

        Args:
            node: whose names and clock.
            topics: image topic by camera, without /compressed.
            raw: sensor_msgs/Image instead of CompressedImage.
        """
        self._node, self._raw = node, raw
        kind, ending = (Image, "") if raw else (CompressedImage, "/compressed")
        self._images = {
            camera: node.create_publisher(kind, topic + ending, QoSProfile(depth=5))
            for camera, topic in topics.items()
        }
        self._manifests = node.create_publisher(String, MANIFEST_TOPIC, LATCHED)
        self._events = node.create_publisher(String, PICK_TOPIC, QoSProfile(depth=20))
        self._truths = {
            name: node.create_publisher(String, name, QoSProfile(depth=50))
            for name in (TRUTH_TOPIC, PICKS_TRUTH, FAULTS_TRUTH)
        }
        self._planner = Planner(node)
        self._newest: dict[str, _View] = {}
        self._shown: dict[str, deque[tuple[bytes, int]]] = {
            camera: deque(maxlen=_PLANNED) for camera in topics
        }
        """Picture and stamp of the newest frames that went out whole."""
        self.counts: Counter[tuple[str, ...]] = Counter()

    def heard(self, listener: str) -> bool:
        """Whether a node of that name listens to every image, to the manifest and to the events."""
        publishers = (*self._images.values(), self._manifests, self._events)
        return all(
            listener
            in [each.node_name for each in self._node.get_subscriptions_info_by_topic(name)]
            for name in (publisher.topic_name for publisher in publishers)
        )

    def flush(self) -> None:
        """Give what is on its way a moment to arrive."""
        end = time.monotonic() + _LAST_S
        for publisher in (*self._images.values(), self._events, *self._truths.values()):
            left = max(0.0, end - time.monotonic())
            publisher.wait_for_all_acked(Duration(seconds=left))

    def report(self) -> dict[str, Any]:
        """What went out, as a tree of counts."""
        tree: dict[str, Any] = {}
        for path, number in sorted(self.counts.items()):
            at = tree
            for word in path[:-1]:
                at = at.setdefault(word, {})
            at[path[-1]] = number
        return tree

    def show(self, step: Step) -> None:
        """Publish a step as of now."""
        if isinstance(step, Picture):
            self._picture(step)
        elif isinstance(step, Manifest):
            self._manifest(step)
        elif isinstance(step, PickEvent):
            self._event(step)
        else:
            self._account(step.mark, step.tree)

    def _picture(self, step: Picture) -> None:
        now_ns = self._node.get_clock().now().nanoseconds
        stamp_ns = max(0, now_ns + round(step.shift_s * 1e9))
        lost = "withheld" if step.withheld else "broken" if step.broken else ""
        self._newest[step.camera] = _View(stamp_ns, lost)
        self.counts["frames", step.camera, "withheld" if step.withheld else "sent"] += 1
        self.counts["frames", step.camera, "broken"] += lost == "broken"
        if not lost:
            self._shown[step.camera].appendleft((step.jpeg, stamp_ns))
        if not step.withheld:
            self._images[step.camera].publish(self._image(step, stamp_ns))
            if step.instances is not None:
                told = {"stamp_ns": stamp_ns, "camera": step.camera, "instances": step.instances}
                self._truths[TRUTH_TOPIC].publish(json_message(told))
        for mark in step.marks:
            self._account(mark, {"camera": step.camera, "stamp_ns": stamp_ns})

    def _image(self, step: Picture, stamp_ns: int) -> Image | CompressedImage:
        header = Header(stamp=Time(**_stamp(stamp_ns)), frame_id=step.camera)
        if self._raw:
            message = image_message(decode_image(step.jpeg, "the rendered frame"), "rgb8", header)
            # a row that claims to be longer than the picture has bytes for
            message.step += 7 if step.broken else 0
            return message
        jpeg = step.jpeg[: len(step.jpeg) // 2] if step.broken else step.jpeg
        return CompressedImage(header=header, format="jpeg", data=array.array("B", jpeg))

    def _manifest(self, step: Manifest) -> None:
        self._manifests.publish(String(data=step.text))
        # the manifest comes before the frames it is true of; a dead listener must not stop the cell
        self._manifests.wait_for_all_acked(Duration(seconds=_ACK_S))
        self.counts["manifests", "sent"] += 1
        for mark in step.marks:
            self._account(mark, {"topic": MANIFEST_TOPIC})

    def _event(self, step: PickEvent) -> None:
        views = {camera: self._newest[camera] for camera in step.cameras}
        event = dict(step.event)
        if event.get("phase") == "pre_pick":
            views |= self._plan(step.cameras[0], event)
        if views:
            role = _WORDS[event["phase"]]
            event["views"] = [
                {"camera": name, "stamp": _stamp(view.stamp_ns), "role": role, "match": "exact"}
                | ({"roi": step.regions[name]} if name in step.regions else {})
                for name, view in views.items()
            ]
        text = json.dumps(event, separators=(",", ":")) if step.text is None else step.text
        listeners = self._events.get_subscription_count()
        self._events.publish(String(data=text))
        self.counts["events", event.get("phase", "malformed")] += 1
        self.counts["selections", "made"] += "selection" in event
        names = ("event_id", "pick_id", "phase", "container_id", "manifest_version", "selection")
        told = {name: event[name] for name in names if name in event}
        lost = {name: view.lost for name, view in views.items() if view.lost}
        stamps = {name: view.stamp_ns for name, view in views.items()}
        self._truths[PICKS_TRUTH].publish(
            json_message({**told, **step.truth, "views": stamps, "lost": lost,
                          "listeners": listeners})
        )  # fmt: skip
        for mark in step.marks:
            self._account(
                mark, {name: told[name] for name in ("event_id", "pick_id") & told.keys()}
            )

    def _plan(self, camera: str, event: dict[str, Any]) -> dict[str, _View]:
        """Select a detection, if one of the same tote has come in time; gives its frame."""
        shown = self._shown[camera]
        stamps = [stamp for jpeg, stamp in shown if jpeg is shown[0][0]]
        chosen = self._planner.choose(camera, stamps, event["roi"])
        if chosen is None:
            return {}
        event["selection"] = {"detection_id": chosen[1]}
        return {camera: _View(chosen[0])}

    def _account(self, mark: Mark, tree: Mapping[str, Any]) -> None:
        self.counts["faults", mark.fault, mark.did] += 1
        told = {"fault": mark.fault, "number": mark.number, "did": mark.did, **tree}
        now_ns = self._node.get_clock().now().nanoseconds
        self._truths[FAULTS_TRUTH].publish(json_message({"at_ns": now_ns, **told}))


def _stamp(stamp_ns: int) -> dict[str, int]:
    sec, nanosec = divmod(stamp_ns, 1_000_000_000)
    return {"sec": sec, "nanosec": nanosec}

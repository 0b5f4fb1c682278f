# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""What the live view subscribes to: small topics always, pictures while somebody looks."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header, String
from vision_msgs.msg import Detection2DArray, LabelInfo

from robollm_core.errors import ImageError
from robollm_core.types import OBJECT_LABEL, UInt8Array
from robollm_ros.cdr import CdrError, FrameReader
from robollm_ros.inputs import IMAGES_IN, LATCHED
from robollm_ros.view_album import Album, Shot
from robollm_ros.view_draw import items, outlines, packed, small_jpeg
from robollm_ros.view_state import CellState, brief

MAX_CAMERAS = 16
KINDS = {"sensor_msgs/msg/Image": Image, "sensor_msgs/msg/CompressedImage": CompressedImage}
RELIABLE = QoSProfile(depth=20, reliability=ReliabilityPolicy.RELIABLE)
_MASKS = QoSProfile(depth=2, reliability=ReliabilityPolicy.RELIABLE)
_HEADER_BYTES = 512
"""A header lies within so many bytes; a longer frame_id is no camera's."""


def camera_of(topic: str, namespace: str) -> str:
    """Name of the camera of an image topic: what stands before /image; "camera" for nothing."""
    name = topic.removeprefix(namespace.rstrip("/")).removesuffix("/compressed").strip("/")
    return brief(name.removesuffix("image").strip("/") or "camera")


class Ears:
    """Subscriptions to what is small."""

    def __init__(self, node: Node, target: str, state: CellState) -> None:
        """Listen.

        Args:
            node: whose subscriptions they are.
            target: full name of the perception node.
            state: is told what comes.
        """
        self.classes: frozenset[str] = frozenset({OBJECT_LABEL})
        """Classes of the segmenter, which are no items."""
        self._state = state
        listen = node.create_subscription
        listen(DiagnosticArray, "/diagnostics", self._on_diagnostics, 20)
        listen(String, "container/manifest", lambda m: state.hear_manifest(m.data), LATCHED)
        listen(String, "pick/status", lambda m: state.hear_status(m.data), RELIABLE)
        listen(Detection2DArray, "pick/identity", self._fused(state.hear_identity), RELIABLE)
        listen(Detection2DArray, "pick/defects", self._fused(state.hear_defects), RELIABLE)
        listen(LabelInfo, f"{target}/label_info", self._on_classes, LATCHED)

    def _fused(self, hear: Callable[[str, str, str, float], None]) -> Callable[[Any], None]:
        """A callback that passes on the fused answer to an event, which comes first."""

        def on_answer(message: Detection2DArray) -> None:
            if message.detections:
                fused = message.detections[0]
                best = [(r.hypothesis.class_id, r.hypothesis.score) for r in fused.results[:1]]
                hear(message.header.frame_id, fused.id, *(best or [("", float("nan"))])[0])

        return on_answer

    def _on_classes(self, message: LabelInfo) -> None:
        names = {brief(one.class_name) for one in message.class_map[:1000]}
        self.classes = frozenset(names | {OBJECT_LABEL})

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        self._state.hear_health(
            [
                (one.name, one.level[0], one.message, {v.key: v.value for v in one.values})
                for one in message.status
            ]
        )


class Cameras:
    """Images and answers, joined by their headers."""

    def __init__(self, node: Node, target: str, max_bytes: int) -> None:
        """Know no camera yet.

        Args:
            node: whose subscriptions they are.
            target: full name of the perception node.
            max_bytes: of frames that wait for their answers.
        """
        self.topics: dict[str, str] = {}
        """Full name of the image topic by camera, in order."""
        self.faults: dict[str, str] = {}
        """Why the newest picture of a camera cannot be shown."""
        self._node, self._target = node, target
        self._album = Album(max_bytes)
        self._read = FrameReader()
        self._kinds: dict[str, Any] = {}
        self._open: list[Any] = []
        self._opened: dict[str, Any] = {}
        self._since = 0.0

    def find(self, order: Sequence[str]) -> None:
        """Ask the graph which images the perception node listens to; keep them when it is gone.

        Args:
            order: names of cameras; these come first, in this order.
        """
        namespace, _, name = self._target.rpartition("/")
        try:
            heard = self._node.get_subscriber_names_and_types_by_node(name, namespace or "/")
        except Exception:  # noqa: BLE001 - rclpy's error for a node that is not there is untyped
            return
        found = {
            topic: KINDS[kinds[0]] for topic, kinds in sorted(heard) if kinds and kinds[0] in KINDS
        }
        if found:
            own = self._node.get_namespace()
            named = {camera_of(one, own): one for one in list(found)[:MAX_CAMERAS]}
            first = [name for name in order if name in named]
            self.topics = {name: named[name] for name in dict.fromkeys([*first, *named])}
            self._kinds = found

    def watch(self, wanted: bool) -> None:
        """Subscribe to pictures and answers, or leave them; follows a change of the cameras."""
        aim = {topic: self._kinds[topic] for topic in self.topics.values()} if wanted else {}
        if aim == self._opened:
            return
        while self._open:
            self._node.destroy_subscription(self._open.pop())
        self._album.clear()
        self._opened, self._since = aim, time.monotonic()
        if not aim:
            return
        for name, topic in self.topics.items():
            self._listen(aim[topic], topic, self._on_image(name), IMAGES_IN, raw=True)
        for part in ("detections", "defects"):
            self._listen(Detection2DArray, f"{self._target}/{part}", self._on_part(part), RELIABLE)
        self._listen(Image, f"{self._target}/masks", self._on_part("masks"), _MASKS)

    def age_s(self, camera: str) -> float | None:
        """Seconds since the newest frame; None without one, or while nobody looks."""
        return self._album.age_s(camera)

    @property
    def watching(self) -> bool:
        """Whether pictures are subscribed to."""
        return bool(self._opened)

    @property
    def watched_s(self) -> float:
        """Seconds since pictures were subscribed to; 0 while nobody looks."""
        return time.monotonic() - self._since if self._opened else 0.0

    def picture(self, camera: str, classes: frozenset[str]) -> bytes | None:
        """The next picture of a camera for the page; None when there is nothing new."""
        taken = self._album.take(camera)
        if taken is None:
            return None
        shot, parts = taken
        try:
            frame, _ = self._read(_unpacked(shot.message, self._kinds[self.topics[camera]]))
            height, width = frame.image_rgb.shape[:2]
            head = {
                "camera": camera,
                "frame_id": brief(shot.frame_id),
                "stamp_ns": str(shot.stamp_ns),
                "size": [width, height],
                "answered": bool(parts),
                "items": described(parts, classes) if "detections" in parts else [],
            }
            self.faults.pop(camera, None)
            return packed(head, small_jpeg(frame))
        except Exception as error:  # noqa: BLE001 - whatever a camera sends, the page goes on
            self.faults[camera] = brief(error)
            return None

    def _listen(
        self, kind: Any, topic: str, callback: Callable[[Any], None], qos: QoSProfile, **how: Any
    ) -> None:
        self._open.append(self._node.create_subscription(kind, topic, callback, qos, **how))

    def _on_image(self, camera: str) -> Callable[[bytes], None]:
        def keep(data: bytes) -> None:
            try:
                frame_id, stamp_ns = read_header(data)
            except CdrError as error:
                self.faults[camera] = brief(error)
                return
            self._album.add(Shot(camera, frame_id, stamp_ns, data, len(data)))

        return keep

    def _on_part(self, part: str) -> Callable[[Any], None]:
        def keep(message: Any) -> None:
            stamp = message.header.stamp
            stamp_ns = stamp.sec * 1_000_000_000 + stamp.nanosec
            self._album.say(part, message.header.frame_id, stamp_ns, message)

        return keep


def read_header(data: bytes) -> tuple[str, int]:
    """Frame id and stamp, in nanoseconds, of a serialised message that begins with a header.

    Raises:
        CdrError: If it does not.
    """
    try:
        header = deserialize_message(data[:_HEADER_BYTES], Header)
    except Exception as error:  # rclpy raises untyped C++ errors
        raise CdrError(f"the message begins with no header: {error}") from error
    return header.frame_id, header.stamp.sec * 1_000_000_000 + header.stamp.nanosec


def described(parts: Mapping[str, Any], classes: frozenset[str]) -> list[dict[str, Any]]:
    """What the page says of each detection, with the outlines of its mask if the masks came."""
    rows = items(parts, classes)
    shapes: list[list[list[int]]] = [[]] * len(rows)
    if "masks" in parts and (labels := _labels(parts["masks"])) is not None:
        shapes = outlines(labels, len(rows))
    return [{**row, "outlines": shape} for row, shape in zip(rows, shapes, strict=True)]


def _labels(message: Image) -> UInt8Array | None:
    """The label image of a message; None for one that is none."""
    height, width, step = message.height, message.width, message.step
    data = np.frombuffer(message.data, np.uint8)
    if message.encoding != "mono8" or not 0 < width <= step or height * step != data.size:
        return None
    return np.ascontiguousarray(data.reshape(height, step)[:, :width])


def _unpacked(data: bytes, kind: Any) -> Any:
    """The message as the frame reader takes it: raw images stay serialised."""
    if kind is Image:
        return data
    try:
        return deserialize_message(data, kind)
    except Exception as error:  # rclpy raises untyped C++ errors
        raise ImageError(f"{len(data)} bytes are not a compressed image: {error}") from error

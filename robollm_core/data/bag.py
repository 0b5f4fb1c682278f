# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Reads the recording of a cell: images, manifests, pick events and ground truth, in order.

rosbags reads MCAP and SQLite bags without ROS. Every way in which a bag can be
wrong ends in a BagError.
"""

import itertools
import json
import sqlite3
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from rosbags.highlevel import AnyReader, AnyReaderError
from rosbags.interfaces import Connection, QosDurability
from rosbags.rosbag2 import ReaderError
from rosbags.serde import SerdeError

from robollm_core.data import rostypes
from robollm_core.data.bagwriter import Topic
from robollm_core.errors import BagError
from robollm_core.images import decode_image, from_ros_image
from robollm_core.types import Frame

IMAGE_TYPES = (rostypes.IMAGE, rostypes.COMPRESSED)
MANIFEST_TOPIC = "container/manifest"
TRUTH_TOPIC = "ground_truth"
PICK_TOPIC = "pick/event"

_BROKEN = (
    ReaderError, AnyReaderError, SerdeError, struct.error, OSError, EOFError, ValueError,
    LookupError, ArithmeticError, AttributeError, AssertionError, TypeError, MemoryError,
    sqlite3.Error,
)  # fmt: skip
"""What rosbags raises on bytes that are no bag, found by feeding it damaged ones."""


@dataclass(frozen=True, slots=True, eq=False)
class ImageEvent:
    """One recorded image, not decoded yet.

    Attributes:
        log_ns: when it was recorded.
        stamp_ns: its header stamp.
        camera: its header's frame_id.
        serialised: the message as it was recorded (CDR).
        decode: gives the frame; raises ImageError when the image is broken.
        topic: on which it was recorded.
    """

    log_ns: int
    stamp_ns: int
    camera: str
    serialised: bytes
    decode: Callable[[], Frame]
    topic: str = ""


@dataclass(frozen=True, slots=True)
class TextEvent:
    """A text that was published; not checked.

    Attributes:
        log_ns: when it was recorded.
        text: the JSON.
        topic: on which it was recorded.
        serialised: the message as it was recorded (CDR).
    """

    log_ns: int
    text: str
    topic: str = ""
    serialised: bytes = b""


class ManifestEvent(TextEvent):
    """A manifest."""

    __slots__ = ()


class PickMessage(TextEvent):
    """A pick event."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class TruthEvent:
    """What a frame really shows, as the JSON object that was published; not checked.

    Attributes:
        log_ns: when it was recorded.
        tree: the JSON object.
        topic: on which it was recorded.
        serialised: the message as it was recorded (CDR).
    """

    log_ns: int
    tree: dict[str, Any]
    topic: str = ""
    serialised: bytes = b""


Event = ImageEvent | ManifestEvent | PickMessage | TruthEvent
_RANK = {ManifestEvent: 0, ImageEvent: 1, PickMessage: 2, TruthEvent: 3}


@contextmanager
def _opened(path: Path) -> Iterator[AnyReader]:
    try:
        reader = AnyReader([path], default_typestore=rostypes.typestore())
        reader.open()
    except _BROKEN as error:
        raise BagError(
            f"{path} is not a readable bag: {_say(error)}. Expected a whole .mcap or .db3 file "
            "or a rosbag2 folder; `robollm replay recover` saves what is whole of an .mcap, `ros2 "
            "bag reindex` may save a folder."
        ) from error
    try:
        yield reader
    finally:
        reader.close()


def _messages(
    reader: AnyReader, connections: Sequence[Connection], path: Path
) -> Iterator[tuple[str, int, Any, bytes]]:
    """(topic, log time, message, its bytes) of each; a broken one is a BagError."""
    for msgtype in {connection.msgtype for connection in connections}:
        _check_definition(reader, msgtype, path)
    # rosbags reads an empty selection as "all of them"
    raw = reader.messages(connections) if connections else iter(())
    while True:
        try:
            connection, log_ns, data = next(raw)
            message = reader.deserialize(data, connection.msgtype)
        except StopIteration:
            return
        except _BROKEN as error:
            raise BagError(f"{path} has a broken message: {_say(error)}.") from error
        yield connection.topic, log_ns, message, data


def _check_definition(reader: AnyReader, msgtype: str, path: Path) -> None:
    """Refuse a bag whose own definition of a type has other fields than ours."""
    try:
        same = reader.typestore.hash_rihs01(msgtype) == rostypes.typestore().hash_rihs01(msgtype)
    except _BROKEN as error:
        raise BagError(f"{path} has a broken definition of {msgtype}: {_say(error)}.") from error
    if not same:
        raise BagError(f"{path} defines {msgtype} with other fields than ROS 2 Jazzy does.")


def read_topics(path: Path, topics: Mapping[str, str]) -> Iterator[tuple[str, int, Any]]:
    """Read some topics of a bag.

    Args:
        path: an .mcap or .db3 file or a rosbag2 folder.
        topics: topic name to the message type it must have; one that is absent is skipped.

    Yields:
        (topic, log time in ns, rosbags message), in log order.

    Raises:
        BagError: If the bag or a message cannot be read, or a topic has another type.
    """
    with _opened(path) as reader:
        chosen = [connection for connection in reader.connections if connection.topic in topics]
        for connection in chosen:
            if connection.msgtype != topics[connection.topic]:
                raise BagError(
                    f"{path}: topic {connection.topic} must be {topics[connection.topic]}, "
                    f"got {connection.msgtype}."
                )
        for topic, log_ns, message, _ in _messages(reader, chosen, path):
            yield topic, log_ns, message


def find_topics(path: Path, ending: str, msgtype: str) -> tuple[str, ...]:
    """Names of a bag's topics of a type that end so, in any namespace.

    Raises:
        BagError: If the bag cannot be read.
    """
    with _opened(path) as reader:
        found = {c.topic for c in reader.connections if c.msgtype == msgtype}
    return tuple(sorted(name for name in found if name.endswith(f"/{ending}")))


class BagReader:
    """An open bag of a cell; a context manager.

    Attributes:
        path: the bag, an .mcap or .db3 file or a rosbag2 folder.
        image_topic: the topic whose images are read; of several the first by name.
        image_type: its message type, known once it is open.
        image_topics: all topics whose images are read, by name, known once it is open.
        topics: all that is read, known once it is open.
        frames: how many images it holds, known once it is open.
    """

    def __init__(
        self, path: Path | str, image_topic: str = "", *, whole_cell: bool = False
    ) -> None:
        """Name a bag; it is opened on entry.

        Args:
            path: an .mcap or .db3 file or a rosbag2 folder.
            image_topic: needed when the bag has more than one image topic.
            whole_cell: read the images of all cameras when no topic is named, and
                pick events too.
        """
        self.path = Path(path)
        self.image_topic = image_topic
        self.image_type = ""
        self.image_topics: tuple[str, ...] = ()
        self.topics: tuple[Topic, ...] = ()
        self.frames = 0
        self._whole = whole_cell
        self._open = ExitStack()
        self._reader: AnyReader | None = None
        self._makers: dict[str, Maker] = {}

    def __enter__(self) -> "BagReader":
        """Open the bag and choose its topics.

        Raises:
            BagError: If the file is missing, is no bag, is truncated, is empty,
                or lacks the image topic or has several.
        """
        with ExitStack() as stack:
            self._reader = stack.enter_context(_opened(self.path))
            self._choose(self._reader)
            self._open = stack.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the bag."""
        self._reader = None
        self._open.close()

    def events(self) -> Iterator[Event]:
        """Images, manifests and ground truth, and of a whole cell the pick events.

        Yields:
            In the order they were recorded; of those of one instant, manifests
            first, then images, pick events and ground truth. At least one image.

        Raises:
            BagError: If a message cannot be read.
        """
        assert self._reader is not None, "the bag is not open"
        chosen = [c for c in self._reader.connections if c.topic in self._makers]
        made = (
            self._makers[topic](topic, log_ns, message, data)
            for topic, log_ns, message, data in _messages(self._reader, chosen, self.path)
        )
        for _, instant in itertools.groupby(made, key=lambda event: event.log_ns):
            yield from sorted(instant, key=lambda event: _RANK[type(event)])

    def _choose(self, reader: AnyReader) -> None:
        if reader.message_count == 0:
            raise BagError(f"{self.path} is empty: it holds no message at all.")
        images = [c for c in reader.connections if c.msgtype in IMAGE_TYPES]
        wanted = self._wanted(reader, images)
        self.frames = sum(c.msgcount for c in images if c.topic in wanted)
        if not self.frames:
            raise BagError(f"{self.path} holds no image on its topic {', '.join(wanted)}.")
        self.image_topic, self.image_topics = wanted[0], wanted
        self.image_type = next(c.msgtype for c in images if c.topic == wanted[0])
        self._makers = dict.fromkeys(wanted, _image_event)
        for connection in reader.connections:
            if connection.msgtype == rostypes.STRING:
                self._add_text(connection.topic)
        read = {c.topic: c for c in reader.connections if c.topic in self._makers}
        self.topics = tuple(Topic(name, c.msgtype, _latched(c)) for name, c in read.items())

    def _add_text(self, topic: str) -> None:
        endings: dict[str, Maker] = {
            MANIFEST_TOPIC: _manifest_event,
            TRUTH_TOPIC: _truth_event,
        }
        if self._whole:
            endings[PICK_TOPIC] = _pick_message
        for ending, maker in endings.items():
            if f"/{topic}".endswith(f"/{ending}"):
                self._makers[topic] = maker

    def _wanted(self, reader: AnyReader, images: Sequence[Connection]) -> tuple[str, ...]:
        """The image topics to read: the one that was named, or those of the cameras."""
        topics = sorted({c.topic for c in images})
        if self.image_topic in topics:
            return (self.image_topic,)
        # a perception node that was recorded too has label images and pictures of its own
        nodes = {
            c.topic.rpartition("/")[0]
            for c in reader.connections
            if c.msgtype == rostypes.DETECTIONS and c.topic.endswith("/detections")
        }
        seen = {c.topic for c in images if c.msgcount}
        cameras = tuple(
            topic
            for topic in topics
            if topic.rpartition("/")[0] not in nodes
            # of a camera that was recorded both ways the raw images count
            and not (self._whole and topic.removesuffix("/compressed") in seen - {topic})
        )
        if not self.image_topic and (len(cameras) == 1 or (cameras and self._whole)):
            return cameras
        raise BagError(self._no_image_topic(cameras, reader))

    def _no_image_topic(self, topics: Sequence[str], reader: AnyReader) -> str:
        if self.image_topic:
            what = f"{self.path} has no image topic {self.image_topic}."
        elif topics:
            return f"{self.path} has several image topics: {', '.join(topics)}. Choose one."
        else:
            what = f"{self.path} has no image topic (sensor_msgs Image or CompressedImage)."
        return f"{what} Its topics: {', '.join(sorted({c.topic for c in reader.connections}))}."


def _latched(connection: Connection) -> bool:
    profiles = getattr(connection.ext, "offered_qos_profiles", ())
    return any(profile.durability == QosDurability.TRANSIENT_LOCAL for profile in profiles)


def _say(error: BaseException) -> str:
    return str(error) or type(error).__name__


def _image_event(topic: str, log_ns: int, message: Any, data: bytes) -> ImageEvent:
    stamp, camera = rostypes.stamp_ns(message), str(message.header.frame_id)

    def decode() -> Frame:
        if hasattr(message, "encoding"):
            pixels = from_ros_image(
                message.height, message.width, message.encoding, message.step,
                message.is_bigendian, message.data,
            )  # fmt: skip
        else:
            pixels = decode_image(np.asarray(message.data).tobytes(), f"the image at {stamp} ns")
        return Frame(pixels, stamp, camera)

    return ImageEvent(log_ns, stamp, camera, bytes(data), decode, topic)


def _manifest_event(topic: str, log_ns: int, message: Any, data: bytes) -> ManifestEvent:
    return ManifestEvent(log_ns, str(message.data), topic, bytes(data))


def _pick_message(topic: str, log_ns: int, message: Any, data: bytes) -> PickMessage:
    return PickMessage(log_ns, str(message.data), topic, bytes(data))


def _truth_event(topic: str, log_ns: int, message: Any, data: bytes) -> TruthEvent:
    try:
        tree = json.loads(message.data)
    except ValueError as error:
        raise BagError(f"the ground truth at {log_ns} ns is not JSON: {error}") from error
    if not isinstance(tree, dict):
        raise BagError(f"the ground truth at {log_ns} ns is no JSON object.")
    return TruthEvent(log_ns, tree, topic, bytes(data))


Maker = Callable[[str, int, Any, bytes], Event]

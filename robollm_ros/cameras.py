# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The cameras of a cell as ROS parameters: `camera_names`, and a few settings for each name."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from robollm_core.config import InputConfig, Leaf
from robollm_core.errors import ConfigError

CAMERA_NAMES = "camera_names"
"""The ROS parameter, a list of strings; read once, when the node starts."""
CAMERA_NAMES_DOC = (
    "Names of the cameras; each has settings cameras.<name>.*, and by default the topic "
    "<name>/image. The one camera of the default has the topic image."
)
DEFAULT_NAMES = ("camera",)
AS_INPUT = "input"
"""A camera's transport that is the one of `input.transport`."""
MOST = 16
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")


@dataclass(frozen=True, slots=True)
class Camera:
    """One camera and how its frames are taken.

    Attributes:
        name: of the parameter `camera_names`.
        topic: relative topic of its raw images.
        transport: "raw" or "compressed".
        max_age_ms: an older frame is dropped when its turn comes; 0 means never.
        stale_after_s: without a frame for so long it counts as lost.
        max_rate_hz: frames answered a second, at most; 0 means no limit.
    """

    name: str = DEFAULT_NAMES[0]
    topic: str = "image"
    transport: str = "raw"
    max_age_ms: float = 0.0
    stale_after_s: float = 2.0
    max_rate_hz: float = 0.0

    @property
    def heard(self) -> str:
        """The relative topic that is subscribed, named as image_transport names it."""
        return heard_topic(self.topic, raw=self.transport == "raw")


def heard_topic(topic: str, *, raw: bool) -> str:
    """The topic of a transport beside the topic of the raw images."""
    return topic if raw else f"{topic}/compressed"


def check_names(value: Any) -> tuple[str, ...]:
    """Check the value of `camera_names`.

    Raises:
        ConfigError: If it is no list of different names that ROS could use.
    """
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise ConfigError(
            f"{CAMERA_NAMES} must be a list of names, such as [tote_top, tote_wall], got {value!r}."
        )
    if not 1 <= len(value) <= MOST:
        raise ConfigError(
            f"{CAMERA_NAMES} must hold 1 to {MOST} names, got {len(value)}. Leave it out for one "
            "camera on the topic image."
        )
    for name in value:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise ConfigError(
                f"{CAMERA_NAMES} holds {name!r}: a name begins with a letter and goes on with at "
                "most 63 letters, digits and underscores."
            )
    if len(set(value)) < len(value):
        raise ConfigError(f"{CAMERA_NAMES} names a camera twice: {', '.join(value)}.")
    return tuple(value)


def names_given(value: Any) -> tuple[str, ...]:
    """The names of `camera_names`, or the default while they are wrong."""
    try:
        return check_names(value)
    except ConfigError:
        return DEFAULT_NAMES


def default_topic(name: str, names: Sequence[str]) -> str:
    """The topic of a camera that nobody set."""
    return "image" if tuple(names) == DEFAULT_NAMES else f"{name}/image"


def camera_leaves(names: Sequence[str]) -> tuple[Leaf, ...]:
    """The settings of every camera, in the order of the names; -1 means as in `input.*`."""
    found: list[Leaf] = []
    for name in names:
        prefix, choices = f"cameras.{name}", (AS_INPUT, "raw", "compressed")
        found += [
            # name, default, sentence, least, most, choices, live
            Leaf(f"{prefix}.topic", default_topic(name, names), "Topic of its raw images; "
                 "compressed ones are expected on <topic>/compressed.", None, None, (), False),
            Leaf(f"{prefix}.transport", AS_INPUT, "Message type of its images; input means as "
                 "input.transport.", None, None, choices, False),
            Leaf(f"{prefix}.max_age_ms", -1.0, "As input.max_age_ms, for this camera; -1 means as "
                 "that.", -1.0, 600000.0, (), True),
            Leaf(f"{prefix}.stale_after_s", -1.0, "As input.stale_after_s, for this camera; -1 "
                 "means as that.", -1.0, 3600.0, (), False),
            Leaf(f"{prefix}.max_rate_hz", -1.0, "As input.max_rate_hz, for this camera; -1 means "
                 "as that.", -1.0, 1000.0, (), True),
        ]  # fmt: skip
    return tuple(found)


def read_cameras(
    names: Sequence[str], value: Callable[[str], Any], common: InputConfig
) -> tuple[Camera, ...]:
    """The cameras as their parameters stand.

    Args:
        names: checked ones.
        value: of a parameter, by its dotted name.
        common: what holds for a camera that says nothing of its own.
    """

    def number(name: str, leaf: str) -> float:
        own = float(value(f"cameras.{name}.{leaf}"))
        return float(getattr(common, leaf)) if own < 0 else own

    return tuple(
        Camera(
            name,
            str(value(f"cameras.{name}.topic")),
            common.transport
            if value(f"cameras.{name}.transport") == AS_INPUT
            else str(value(f"cameras.{name}.transport")),
            **{leaf: number(name, leaf) for leaf in ("max_age_ms", "stale_after_s", "max_rate_hz")},
        )
        for name in names
    )


def check_topics(cameras: Sequence[Camera], resolve: Callable[[str], str]) -> None:
    """Refuse cameras that cannot be told apart.

    Args:
        cameras: of one node.
        resolve: a relative topic to its full name; raises what ROS raises for a bad one.

    Raises:
        ConfigError: If a topic is no name that ROS could use, or two cameras share one.
    """
    owners: dict[str, str] = {}
    for camera in cameras:
        try:
            topic = resolve(camera.heard)
        except Exception as error:
            raise ConfigError(
                f"cameras.{camera.name}.topic is {camera.topic!r}, which is no topic name: {error}"
            ) from error
        if topic in owners:
            raise ConfigError(
                f"the cameras {owners[topic]} and {camera.name} both hear {topic}. Give each a "
                f"topic of its own in cameras.{camera.name}.topic."
            )
        owners[topic] = camera.name

# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""What the cameras of a recording are called: the node names them, a bag has topics alone."""

from collections.abc import Sequence

ONLY_CAMERA = "camera"
"""Name of the camera behind a topic that has none, as in the node."""


def camera_of(topic: str) -> str:
    """The name of the camera that an image topic belongs to.

    Returns:
        The word before "image", as in "/cell/tote_top/image/compressed"; `ONLY_CAMERA`
        for a topic that has none.
    """
    words = [word for word in topic.split("/") if word]
    if words and words[-1] == "compressed":
        words.pop()
    if words and words[-1].startswith("image"):
        words.pop()
    return words[-1] if words else ONLY_CAMERA


def camera_names(topics: Sequence[str]) -> dict[str, str]:
    """Image topic to the name of its camera; cameras of one name are called by their whole path."""
    short = {topic: camera_of(topic) for topic in topics}
    names = list(short.values())
    return {
        topic: name if names.count(name) == 1 else topic.strip("/").replace("/", "_")
        for topic, name in short.items()
    }

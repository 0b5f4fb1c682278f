# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""What events may call a camera: its name in the node, or the frame_id of its images."""

from collections.abc import Sequence

_MOST = 64
"""Names learned at most: a frame_id that changes with every image is no name."""


class CameraNames:
    """Translates names of events into names of the node."""

    def __init__(self, cameras: Sequence[str]) -> None:
        """Know the configured names."""
        self._cameras = frozenset(cameras)
        self._learned: dict[str, str] = {}
        """frame_id to camera; "" where several cameras use it."""

    def learn(self, camera: str, frame_id: str) -> None:
        """Note the frame_id of a camera's image; one that two cameras use names neither."""
        before = self._learned.get(frame_id)
        if before == camera or not frame_id or frame_id in self._cameras:
            return
        if before is not None:
            self._learned[frame_id] = ""
        elif len(self._learned) < _MOST:
            self._learned[frame_id] = camera

    def known(self) -> frozenset[str]:
        """All names that events may use by now."""
        return self._cameras | {name for name, camera in self._learned.items() if camera}

    def of(self, name: str) -> str:
        """The camera that a known name means."""
        return name if name in self._cameras else self._learned[name]

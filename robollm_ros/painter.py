# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Draws overlays in a thread of its own, so that no answer waits for a picture.

The newest answer of each camera waits to be drawn, the cameras take turns, and no
more are drawn a second than asked for.
"""

import threading
import time
from typing import Any

from std_msgs.msg import Header

from robollm_core.overlay import draw_overlay
from robollm_core.types import Frame, PerceptionResult
from robollm_ros.conversions import image_cdr

Drawable = tuple[Frame, Header, PerceptionResult]
_PATIENCE_S = 0.3


class Painter:
    """Draws and publishes the newest answers while somebody listens.

    Attributes:
        rate_hz: overlays a second, of all cameras together, at most.
    """

    def __init__(self, publisher: Any, *, wanted: bool) -> None:
        """Make a painter that is not drawing yet.

        Args:
            publisher: of ~/overlay.
            wanted: whether overlays are published at all.
        """
        self.rate_hz = 5.0
        self._publisher, self._wanted = publisher, wanted
        self._waiting: dict[str, Drawable] = {}
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to draw what is offered from now on."""
        if self._wanted:
            self._thread = threading.Thread(target=self._draw, name="paint", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """End after the picture at hand."""
        thread, self._thread = self._thread, None
        with self._changed:
            self._waiting.clear()
            self._changed.notify_all()
        if thread is not None:
            thread.join(_PATIENCE_S)

    def offer(self, camera: str, frame: Frame, header: Header, result: PerceptionResult) -> None:
        """Leave an answer; it is drawn if somebody listens and no newer one comes before."""
        if self._thread is None or not self._publisher.get_subscription_count():
            return
        with self._changed:
            # the place of a camera stays: who waits longest is drawn first
            self._waiting[camera] = (frame, header, result)
            self._changed.notify()

    def _draw(self) -> None:
        me, due = threading.current_thread(), 0.0
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._thread is not me)
                pause = due - time.monotonic()
                if pause > 0 and self._thread is me:
                    self._changed.wait(pause)
                    continue
                if self._thread is not me:
                    return
                frame, header, result = self._waiting.pop(next(iter(self._waiting)))
            due = time.monotonic() + 1 / self.rate_hz
            drawn = image_cdr(draw_overlay(frame.image_rgb, result), "rgb8", header)
            if self._thread is me:  # whoever stopped it may have destroyed the publisher
                self._publisher.publish(drawn)

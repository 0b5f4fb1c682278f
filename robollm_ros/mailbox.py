# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""One slot between a subscription and the worker: the newest wins, the rest is counted.

A queue would answer old frames late; a robot wants the newest frame now.
"""

import threading
from typing import Generic, TypeVar

T = TypeVar("T")


class Mailbox(Generic[T]):
    """A slot for one item, for one reader and any number of writers.

    Attributes:
        received: items ever put in.
        dropped: items that were overwritten, or still unread when the box closed.
    """

    def __init__(self) -> None:
        self.received = 0
        self.dropped = 0
        self._item: T | None = None
        self._closed = False
        self._nudged = False
        self._changed = threading.Condition()

    def put(self, item: T) -> None:
        """Leave an item; an unread one is overwritten and counted as dropped.

        Args:
            item: anything but None. Ignored once the box is closed.
        """
        with self._changed:
            if self._closed:
                return
            self.received += 1
            if self._item is not None:
                self.dropped += 1
            self._item = item
            self._changed.notify()

    def nudge(self) -> None:
        """Let the reader return once from `wait` without an item."""
        with self._changed:
            self._nudged = True
            self._changed.notify()

    def wait(self) -> bool:
        """Wait for an item, a nudge or the end; an item stays, and may still be overwritten.

        Returns:
            Whether the box is still open.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._item is not None or self._nudged or self._closed)
            self._nudged = False
            return not self._closed

    def take(self) -> T | None:
        """The newest item, or None when there is none; does not wait."""
        with self._changed:
            item, self._item = self._item, None
            return item

    def close(self) -> None:
        """Wake the reader for good; an unread item counts as dropped."""
        with self._changed:
            if self._item is not None:
                self.dropped += 1
            self._item = None
            self._closed = True
            self._changed.notify_all()

    @property
    def counts(self) -> dict[str, int]:
        """Items received and dropped, read together."""
        with self._changed:
            return {"received": self.received, "dropped": self.dropped}

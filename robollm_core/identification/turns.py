# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Frames before references: who embeds in the background lets a frame pass between two batches."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

PATIENCE_S = 0.25
"""A batch of references waits no longer than this: frames without a gap must not starve it."""


class Turns:
    """Says whether a frame is being named.

    An engine's own lock is given to anybody who waits, and often to the thread that has just
    let it go. With this a frame waits for one batch at most, the one that runs already.
    """

    def __init__(self) -> None:
        """Nobody is busy."""
        self._changed = threading.Condition()
        self._frames = 0

    @contextmanager
    def frame(self) -> Iterator[None]:
        """A frame is being named while the block runs."""
        with self._changed:
            self._frames += 1
        try:
            yield
        finally:
            with self._changed:
                self._frames -= 1
                self._changed.notify_all()

    def give_way(self) -> None:
        """Wait until no frame is being named, `PATIENCE_S` at most."""
        with self._changed:
            self._changed.wait_for(lambda: self._frames == 0, PATIENCE_S)

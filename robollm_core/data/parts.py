# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""A recording of unknown length, in one file or in several that each stand alone.

What was written is handed to the operating system about once a second, so that a killed
recorder loses no more than that: earlier parts are whole, and `robollm replay recover` makes
the last one whole.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType

from robollm_core.data.bagwriter import BagWriter, Topic

FLUSH_S = 1.0


class PartsWriter:
    """Bags one after the other; a context manager.

    Attributes:
        files: of the parts that are whole.
    """

    def __init__(
        self,
        path: Path | str,
        topics: Sequence[Topic],
        *,
        max_bytes: int = 0,
        max_s: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Name the recording.

        Args:
            path: the .mcap file; with a limit the parts are called stem_0.mcap, stem_1.mcap ...
            topics: all that will be written.
            max_bytes: of the messages of a part, about; 0 for no limit.
            max_s: seconds that a part takes; 0 for no limit.
            clock: seconds that never go back.
        """
        self.path = Path(path)
        self.files: list[Path] = []
        self._topics = tuple(topics)
        self._latched = {topic.name for topic in topics if topic.latched}
        self._newest: dict[str, bytes] = {}
        self._max_bytes, self._max_s, self._clock = max_bytes, max_s, clock
        self._bag: BagWriter | None = None
        self._bytes, self._begun, self._flushed = 0, 0.0, 0.0

    def __enter__(self) -> "PartsWriter":
        """Begin the first part.

        Raises:
            OutputError: If the folder cannot be written to.
        """
        self._open()
        return self

    def write(self, topic: str, log_ns: int, data: bytes) -> None:
        """Add one serialised message.

        Raises:
            OutputError: If the disk is full or gone; the part is then discarded.
        """
        if self._full():
            self._close(None, None)
            self._open()
            # each part says for itself what its answers mean
            for name, kept in self._newest.items():
                self._add(name, log_ns, kept)
        if topic in self._latched:
            self._newest[topic] = data
        self._add(topic, log_ns, data)
        self.flush(FLUSH_S)

    def flush(self, every_s: float = 0.0) -> None:
        """Hand what was written to the operating system, if that was last done so long ago.

        Raises:
            OutputError: If the disk is full or gone; the part is then discarded.
        """
        now = self._clock()
        if self._bag is not None and now - self._flushed >= every_s:
            self._bag.flush()
            self._flushed = now

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Put the last part in place, or after an error leave it out.

        Raises:
            OutputError: If the rest cannot be written.
        """
        self._close(kind, error)

    def _full(self) -> bool:
        too_large = self._max_bytes and self._bytes >= self._max_bytes
        too_long = self._max_s and self._clock() - self._begun >= self._max_s
        return bool(self._bytes and (too_large or too_long))

    def _open(self) -> None:
        path = self.path
        if self._max_bytes or self._max_s:
            path = path.with_name(f"{path.stem}_{len(self.files)}{path.suffix}")
        bag = BagWriter(path, self._topics)
        bag.__enter__()
        self._bag, self._bytes = bag, 0
        self._begun = self._flushed = self._clock()

    def _close(self, kind: type[BaseException] | None, error: BaseException | None) -> None:
        bag, self._bag = self._bag, None
        if bag is None:
            return
        bag.__exit__(kind, error, None)
        if error is None:
            self.files.append(bag.path)

    def _add(self, topic: str, log_ns: int, data: bytes) -> None:
        assert self._bag is not None, "the recording is not open"
        self._bag.write(topic, log_ns, data)
        self._bytes += len(data)

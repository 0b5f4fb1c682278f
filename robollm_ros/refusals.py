# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""A message that is of no use, or a frame that a network fails on: told to health, and logged."""

import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from robollm_core.errors import RobollmError
from robollm_ros.health import Health

Log = Callable[[str, str], None]
"""Gets a relative topic and a text."""


class Refusals:
    """Tells health and the log of what was refused, and why."""

    def __init__(self, health: Health, log: Log) -> None:
        """Name who is told.

        Args:
            health: decides also what is logged.
            log: gets the topic and a text, not too often.
        """
        self._health = health
        self._log = log

    @contextmanager
    def of(self, topic: str, consequence: str) -> Iterator[None]:
        """Survive whatever the block raises: one bad message must not end the service."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - told to health and to the log
            self.refused(topic, error, consequence)

    def refused(self, topic: str, error: Exception, consequence: str) -> None:
        """A message on a topic is of no use."""
        if self._health.refused(topic, str(error)):
            self._tell(topic, error, consequence)

    def failed(self, topic: str, error: Exception, consequence: str) -> None:
        """A network failed on a frame of a topic."""
        if self._health.failed(topic, str(error)):
            self._tell(topic, error, consequence)

    def news(self, topic: str, text: str) -> None:
        """Something to know that is no fault."""
        self._log(topic, text)

    def _tell(self, topic: str, error: Exception, consequence: str) -> None:
        expected = isinstance(error, RobollmError)
        trace = "" if expected else "\n" + "".join(traceback.format_exception(error))
        self._log(topic, f"{str(error).rstrip('.')}. {consequence}{trace}")

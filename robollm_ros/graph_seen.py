# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""What the doctor of a running graph has seen, and what it makes of it: plain nouns."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from rclpy.qos import QoSProfile

OK, WARN, ERROR = 0, 1, 2
"""Levels, as in diagnostic_msgs/DiagnosticStatus."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong with a running cell, or worth to know.

    Attributes:
        level: `ERROR` (it does not work), `WARN` (it works badly) or `OK` (a note).
        complaint: number of the section in docs/troubleshooting.md.
        node: full name of the node it is about, "" for the graph.
        what: what is wrong, one sentence.
        mend: what to do.
    """

    level: int
    complaint: int
    node: str
    what: str
    mend: str


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A publisher or a subscription.

    Attributes:
        node: full name of its node.
        kind: message type, "sensor_msgs/msg/Image".
        qos: offered or requested.
    """

    node: str
    kind: str
    qos: QoSProfile


@dataclass(frozen=True, slots=True)
class TopicSeen:
    """Who publishes a topic, and who listens to it."""

    publishers: tuple[Endpoint, ...] = ()
    subscriptions: tuple[Endpoint, ...] = ()


@dataclass(frozen=True, slots=True)
class StatusSeen:
    """The newest status of one name: `level`, `message` and `values` as they were published."""

    level: int
    message: str
    values: Mapping[str, str] = field(default_factory=dict)

    def number(self, name: str) -> float:
        """A value as a number; 0 where it is absent or none."""
        try:
            return float(self.values.get(name, 0))
        except ValueError:
            return 0.0


@dataclass(frozen=True, slots=True)
class CellSeen:
    """A perception node.

    Attributes:
        name: full name.
        state: label of its lifecycle state; "" when it did not answer.
        statuses: by name without the node's; empty when nothing was heard.
        parameters: those that were asked for.
    """

    name: str
    state: str
    statuses: Mapping[str, StatusSeen] = field(default_factory=dict)
    parameters: Mapping[str, object] = field(default_factory=dict)

    @property
    def namespace(self) -> str:
        """Where its relative names are resolved; "" for the root."""
        return self.name.rpartition("/")[0]


@dataclass(frozen=True, slots=True)
class Survey:
    """A whole graph.

    Attributes:
        nodes: how often each full name is there, the doctor itself left out.
        cells: perception nodes, by name.
        topics: by name.
        seconds: how long was listened.
        frames: how many frames the doctor itself heard, by topic, where a cell misses them
            though somebody publishes.
    """

    nodes: Mapping[str, int]
    cells: Mapping[str, CellSeen]
    topics: Mapping[str, TopicSeen]
    seconds: float
    frames: Mapping[str, int] = field(default_factory=dict)

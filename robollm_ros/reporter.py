# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Publishes the health of a node at a steady pace, also while a transition blocks the executor.

rclpy runs transitions inside the executor: while one loads or builds for minutes, no timer
fires. A thread then reports in its place; publishing needs no executor.
"""

import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType
from rclpy.node import Node

from robollm_core.runtime.progress import listening
from robollm_ros.conversions import diagnostics_message
from robollm_ros.health import QUIET_S, Health
from robollm_ros.status import Facts
from robollm_ros.watchdog import Watchdog, stacks

TOPIC = "/diagnostics"


class Reporter:
    """The publisher of /diagnostics, its timer, the watchdog and the heartbeat."""

    def __init__(
        self,
        node: Node,
        health: Health,
        gather: Callable[[], Facts],
        *,
        period_s: float,
        on_fatal: Callable[[str], None],
    ) -> None:
        """Begin to report; the node needs no more than its parameters.

        Args:
            node: whose name, clock and log.
            health: what happened.
            gather: asked for the rest at each report, also from another thread.
            period_s: seconds between two reports.
            on_fatal: called with the reason, once, when the networks hang or fail for good.
        """
        self._node, self._health, self._gather = node, health, gather
        self._on_fatal = on_fatal
        self._watchdog = Watchdog()
        self._complained_at = -QUIET_S
        # a plain one: a lifecycle publisher is silent unless its node is active
        self._publisher = node.create_publisher(DiagnosticArray, TOPIC, 10)
        # a steady clock: a paused simulation must not silence the diagnostics
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._timer = node.create_timer(period_s, self._tick, clock=steady)

    @property
    def period_s(self) -> float:
        """Seconds between two reports."""
        return float(self._timer.timer_period_ns) / 1e9

    @period_s.setter
    def period_s(self, secs: float) -> None:
        self._timer.timer_period_ns = int(secs * 1e9)

    def report(self) -> None:
        """Publish now."""
        self._publish(self._gather())

    @contextmanager
    def heartbeat(self, doing: str) -> Iterator[Callable[[str], None]]:
        """Report from a thread while the body, a part of configure, blocks the executor.

        Args:
            doing: what the body does, for the status "lifecycle"; what networks that are
                loaded meanwhile tell of themselves takes its place.

        Yields:
            A function that takes what it does from now on.
        """
        done = threading.Event()

        def say(now: str) -> None:
            self._health.doing = now

        def beat() -> None:
            while True:
                with self._surviving():
                    self.report()
                if done.wait(self.period_s):
                    return

        thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
        before, self._health.state = self._health.state, "configuring"
        say(doing)
        thread.start()
        try:
            with listening(say):
                yield say
        finally:
            done.set()
            thread.join()
            say("")
            self._health.state = before

    def _publish(self, facts: Facts) -> None:
        statuses = self._health.statuses(facts)
        stamp = self._node.get_clock().now().to_msg()
        name = self._node.get_fully_qualified_name()
        self._publisher.publish(diagnostics_message(statuses, name, stamp))

    def _tick(self) -> None:
        with self._surviving():
            facts = self._gather()
            began = self._watch(facts)
            self._publish(facts)
            if began:
                # last: it may end the process, and the reason must be out by then
                self._on_fatal(began)

    @contextmanager
    def _surviving(self) -> Iterator[None]:
        """Health that cannot be told must not end what it tells of."""
        try:
            yield
        except Exception:  # noqa: BLE001 - logged here; out of a timer it would end the node
            now = time.monotonic()
            if now - self._complained_at >= QUIET_S:
                self._complained_at = now
                text = traceback.format_exc()
                self._node.get_logger().error(f"health cannot be reported: {text}")

    def _watch(self, facts: Facts) -> str:
        health = self._health
        last = health.last_error
        began = self._watchdog.tick(health.config.health, facts.busy, health.failures, last)
        if began:
            health.fatal = began
            if facts.busy:  # whoever acts tells the reason; here is where it hangs
                self._node.get_logger().error(f"{began}\n{stacks()}")
        elif health.state == "active":
            # it goes on in spite of all; whoever was stopped stays marked
            health.fatal = self._watchdog.reason
        return began

# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The perception node: images and a manifest in, detections out, under lifecycle control."""

import gc
import os
import sys
import threading
from contextlib import suppress
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

from robollm_core.cell import build_stages, describe, retune
from robollm_core.config import Config
from robollm_ros.cdr import FrameReader
from robollm_ros.conversions import diagnostics_message
from robollm_ros.health import IMAGE, Health
from robollm_ros.inputs import Inputs, image_topic, qos_leaves
from robollm_ros.outputs import Outputs
from robollm_ros.parameters import Parameters
from robollm_ros.program import EXIT_REFUSED, announce, run, spin
from robollm_ros.transitions import transition
from robollm_ros.worker import Worker, warm_up

SUCCESS = TransitionCallbackReturn.SUCCESS


class PerceptionNode(LifecycleNode):
    """configure loads, activate listens, deactivate keeps the engines, cleanup frees them."""

    def __init__(self, **options: Any) -> None:
        """Make the node, unconfigured; `options` are those of `rclpy.node.Node`."""
        super().__init__(
            "perception", automatically_declare_parameters_from_overrides=True, **options
        )
        self.parameters = Parameters(self, self._retune, qos_leaves(self))
        self._config = Config()
        self._health = Health()
        self._worker: Worker | None = None
        self._outputs: Outputs | None = None
        self._inputs: Inputs | None = None
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        # a steady clock: a paused simulation must not silence the diagnostics
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._timer = self.create_timer(self.parameters.period_s(), self._report, clock=steady)

    @transition
    def on_configure(self, state: LifecycleState) -> None:
        """Check the parameters, load and warm up the networks, make the publishers."""
        self._config = self.parameters.configure()
        stages = build_stages(self._config)
        warm_up(stages, self._config.health.warmup_iterations)
        if os.environ.get("ROS_PYTHON_CHECK_FIELDS") == "1":
            self.get_logger().warning("ROS_PYTHON_CHECK_FIELDS=1 costs 200 ms an image; unset it.")
        self._timer.timer_period_ns = int(self._config.health.period_s * 1e9)
        self._outputs = Outputs(self, self._config.output)
        self._worker = Worker(
            stages, self._health, decode=FrameReader(), publish=self._outputs.publish, log=self._log
        )
        self.parameters.locked = True
        bundle = {"bundle": self.parameters.bundle} if self.parameters.bundle else {}
        self._health.model, self._health.state = {**bundle, **describe(stages)}, "inactive"

    @transition
    def on_activate(self, state: LifecycleState) -> None:
        """Subscribe and start to answer."""
        assert self._worker is not None
        super().on_activate(state)
        self._health.restart()
        self._health.state = "active"
        self._worker.start()
        self._inputs = Inputs(self, self._raw, self._worker, self._health)

    @transition
    def on_deactivate(self, state: LifecycleState) -> None:
        """Stop listening; the frame at hand is still answered, the engines stay."""
        if self._inputs is not None:
            self._inputs.close()
            self._inputs = None
        if self._worker is not None:
            self._worker.stop()
            self._health.state = "inactive"
        super().on_deactivate(state)

    @transition
    def on_cleanup(self, state: LifecycleState) -> None:
        """Free the engines and the publishers."""
        self.on_deactivate(state)
        if self._outputs is not None:
            self._outputs.close()
        self._outputs = self._worker = None
        self._health.model, self._health.state, self._health.refusal = {}, "unconfigured", ""
        self.parameters.locked = False
        gc.collect()

    on_shutdown = on_cleanup
    on_error = on_cleanup

    @property
    def _raw(self) -> bool:
        return self._config.input.transport == "raw"

    def _log(self, topic: str, text: str) -> None:
        name = image_topic(self._raw) if topic == IMAGE else topic
        self.get_logger().warning(f"{self.resolve_topic_name(name)}: {text}")

    def _retune(self, config: Config) -> None:
        self._config = config
        if self._worker is not None:
            self._worker.stages = retune(self._worker.stages, config)

    def _report(self) -> None:
        counts = self._worker.mailbox.counts if self._worker else {"received": 0, "dropped": 0}
        manifest = self._worker.manifest if self._worker else None
        listeners = self._outputs.listeners() if self._outputs else {}
        statuses = self._health.statuses(self._config, manifest, counts, listeners)
        stamp = self.get_clock().now().to_msg()
        name = self.get_fully_qualified_name()
        self._diagnostics.publish(diagnostics_message(statuses, name, stamp))


def serve(stop: threading.Event) -> int:
    """Run the node until `stop`; with `autostart` it configures and activates itself."""
    node = PerceptionNode()
    try:
        if node.parameters.autostart:
            if not (node.trigger_configure() == SUCCESS == node.trigger_activate()):
                return EXIT_REFUSED
            announce("active")
        spin(node, stop.is_set)
        return 0
    finally:
        with suppress(RuntimeError):  # somebody else has shut it down already
            node.trigger_shutdown()
        node.destroy_node()


def main() -> int:
    """Entry point of the program."""
    return run(serve)


if __name__ == "__main__":
    sys.exit(main())

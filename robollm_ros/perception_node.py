# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The perception node: images and a manifest in, detections out, under lifecycle control."""

import gc
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from rclpy.lifecycle import LifecycleNode, LifecycleState

from robollm_core.cell import build_stages, describe, retune
from robollm_core.config import Config
from robollm_core.pipeline import Stages
from robollm_ros.configured import Configured
from robollm_ros.debug_frame import FOLDER
from robollm_ros.health import Health
from robollm_ros.inputs import qos_leaves
from robollm_ros.parameters import Parameters, node_leaves
from robollm_ros.program import EXIT_FATAL, leave, run
from robollm_ros.reporter import Reporter
from robollm_ros.status import Facts
from robollm_ros.transitions import live, refuse_illegal, transition
from robollm_ros.usage import answered
from robollm_ros.worker import warm_up


class PerceptionNode(LifecycleNode):
    """configure loads, activate listens, deactivate keeps the engines, cleanup frees them.

    Attributes:
        cell: what lives from configure to cleanup; None otherwise.
        exit_code: not zero once the process is to end: the networks failed for good.
        ending: whether it is asked to end; then no transition waits for long.
    """

    def __init__(self, **options: Any) -> None:
        """Make the node, unconfigured; `options` are those of `rclpy.node.Node`."""
        super().__init__(
            "perception", automatically_declare_parameters_from_overrides=True, **options
        )
        refuse_illegal(self)
        self.exit_code = 0
        self.ending: Callable[[], bool] = lambda: False
        self.parameters = Parameters(self, self._retune, (FOLDER, *qos_leaves(self)))
        self.health = Health()
        self.cell: Configured | None = None
        self._reporter = Reporter(
            self, self.health, self._facts,
            period_s=self.parameters.period_s(), on_fatal=self._on_fatal,
        )  # fmt: skip

    def load_stages(self, config: Config) -> Stages:
        """The networks of a configuration, ready to run."""
        stages = build_stages(config)
        warm_up(stages, config.health.warmup_iterations)
        return stages

    def describe_stages(self, stages: Stages) -> Mapping[str, str]:
        """Stage name to the network and runtime in use."""
        return describe(stages)

    def retune_stages(self, stages: Stages, config: Config) -> Stages:
        """The same networks under other thresholds."""
        return retune(stages, config)

    @transition
    def on_configure(self, state: LifecycleState) -> None:
        """Check the parameters, load and warm up the networks, make the publishers."""
        config = self.parameters.configure()
        cameras = self.parameters.cameras(config)
        self.health.config = config
        with self._reporter.heartbeat("loading the networks"):
            stages = self.load_stages(config)
        self.cell = Configured(self, config, cameras, stages, self.health)
        self._reporter.period_s = config.health.period_s
        self.parameters.locked = True
        bundle = {"bundle": self.parameters.bundle} if self.parameters.bundle else {}
        self.cell.desk.models = self.health.model = {**bundle, **self.describe_stages(stages)}
        self.health.state = "inactive"

    @transition
    def on_activate(self, state: LifecycleState) -> None:
        """Subscribe and start to answer."""
        assert self.cell is not None
        super().on_activate(state)
        self.cell.activate()
        self.health.state = "active"

    @transition
    def on_deactivate(self, state: LifecycleState) -> None:
        """Stop listening; the frame at hand is still answered, the engines stay."""
        if self.cell is not None:
            self.cell.deactivate(self.ending)
            self.health.state = "inactive"
        super().on_deactivate(state)

    @transition
    def on_cleanup(self, state: LifecycleState) -> None:
        """Free the engines and the publishers."""
        self.on_deactivate(state)
        if self.cell is not None:
            self.cell.close()
        self.cell = None
        self.health.model, self.health.state, self.health.refusal = {}, "unconfigured", ""
        self.parameters.locked = False
        gc.collect(0 if self.ending() else 2)  # the end of a process frees all anyway

    on_error = on_cleanup

    @transition
    def on_shutdown(self, state: LifecycleState) -> None:
        """Free everything, for good."""
        self.on_cleanup(state)
        self.health.state = "finalized"

    def _retune(self, config: Config) -> None:
        self.health.config = config
        if self.cell is not None:
            cameras, stages = self.parameters.cameras(config), self.cell.worker.stages
            self.cell.retune(config, cameras, self.retune_stages(stages, config))

    def _facts(self) -> Facts:
        return self.cell.facts() if self.cell else Facts({}, {})

    def _on_fatal(self, reason: str) -> None:
        action = self.health.config.health.on_fatal
        self.get_logger().fatal(f"{reason}; health.on_fatal: {action}")
        self.exit_code = EXIT_FATAL if action == "exit" else 0
        if action != "continue":
            with suppress(RuntimeError):  # another transition came first
                self.trigger_deactivate()


def serve(stop: threading.Event, make: Callable[[], PerceptionNode] = PerceptionNode) -> int:
    """Run the node that `make` gives until `stop`; with `autostart` it activates itself."""
    return live(make(), stop)


def main() -> int:
    """Entry point of the program."""
    if (code := answered("perception_node", __doc__ or "", (*node_leaves(), FOLDER))) is None:
        leave(run(serve))
    return code


if __name__ == "__main__":
    sys.exit(main())

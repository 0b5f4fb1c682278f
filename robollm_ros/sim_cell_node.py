# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""A robot cell without a robot: cameras, manifests and pick events of a simulated one.

The cell is rendered once into `cell_folder` and then played with fresh stamps,
with faults if they are asked for. Topics `ground_truth`, `ground_truth/picks` and
`ground_truth/faults` say what is true of each frame and pick, and what was broken.
"""

import json
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from rclpy.node import Node

from robollm_core.config import Leaf
from robollm_core.synthetic.states import HELD_CAMERAS, Recording
from robollm_ros.program import announce, run, spin, write_json
from robollm_ros.settings import read_settings
from robollm_ros.sim_faults import KINDS, inject, parse_faults
from robollm_ros.sim_outlet import Outlet
from robollm_ros.sim_render import states_of
from robollm_ros.sim_script import Pace, Picture, Step, script
from robollm_ros.usage import answered

SEEDS = 1 << 19
"""Cells that the simulator can make; written out, since the node starts without it."""
_FAULTS = (
    "Faults to inject, as in blackout=1,blur,random=4, each with how many a minute (default 2); "
    f"random draws from all: {', '.join(KINDS)}."
)
PARAMETERS = (
    # name, default, sentence, least, most, choices, live
    Leaf("seed", 0, "The same seed shows the same cell.", 0, SEEDS - 1, (), False),
    Leaf("rate_hz", 2.0, "Frames of the tote a second.", 0.001, 1000.0, (), False),
    Leaf("picks_per_s", 0.5, "Picks a second; 0: nothing is picked.", 0.0, 1000.0, (), False),
    Leaf("frames", 0, "End after so many of the tote; 0: never.", 0, 1_000_000_000, (), False),
    Leaf(
        "transport", "compressed", "Type of the images.", None, None, ("raw", "compressed"), False
    ),
    Leaf(
        "cameras", "tote",
        "tote: one camera, on the topic image; all: tote_top and the three pick cameras "
        f"{', '.join(HELD_CAMERAS)}, each on NAME/image.", None, None, ("tote", "all"), False,
    ),
    Leaf("cell_folder", "sim_cell", "Gets the cell and its references.", None, None, (), False),
    Leaf(
        "states", 24, "States of totes to render; 0: play what lies in cell_folder.",
        0, 100_000, (), False,
    ),
    Leaf("faults", "", _FAULTS, None, None, (), False),
    Leaf(
        "wait_s", 0.0, "Wait so long for the node of the name `listener` before the first frame.",
        0.0, 3600.0, (), False,
    ),
    Leaf("listener", "perception", "Who must hear all topics.", None, None, (), False),
    Leaf("run", "", "Part of names, new at each start; empty: the time.", None, None, (), False),
    Leaf("report", "", "JSON file for what was sent; empty: none.", None, None, (), False),
)  # fmt: skip
_LATE_S, _TICK_S = 1.0, 0.1


class SimCell(Node):
    """Publishes what the cameras of a simulated cell see, what it holds and what it asks."""

    def __init__(self) -> None:
        """Declare the parameters and make the publishers.

        Raises:
            ConfigError: If a parameter is wrong.
        """
        super().__init__("sim_cell", automatically_declare_parameters_from_overrides=True)
        self.settings = read_settings(self, PARAMETERS)
        self._faults = parse_faults(self.settings["faults"])
        several = self.settings["cameras"] == "all"
        self._pace = Pace(
            self.settings["rate_hz"],
            self.settings["picks_per_s"],
            "tote_top" if several else "tote_camera",
            several,
            self.settings["run"] or f"{int(time.time()):x}",
        )
        topics = {name: f"{name}/image" if several else "image" for name in self._pace.cameras}
        self.outlet = Outlet(self, topics, self.settings["transport"] == "raw")

    def steps(self, recording: Recording) -> Iterator[Step]:
        """All that happens, until as many frames of the tote as were asked for are over."""
        steps = script(recording.states, self._pace)
        shown = 0
        for step in inject(steps, self._faults, self.settings["seed"], self._pace.cameras):
            shown += isinstance(step, Picture) and step.camera == self._pace.tote
            if shown > (self.settings["frames"] or shown):
                return
            yield step


def play(node: SimCell, steps: Iterator[Step], stop: threading.Event) -> None:
    """Show each step at its time until `stop`; a cell that is late does not hurry afterwards."""
    over = threading.Event()
    # parameters and detections are served beside the cell, which then keeps its times
    server = threading.Thread(target=spin, args=(node, over.is_set))
    server.start()
    begun = time.monotonic()
    try:
        for number, step in enumerate(steps):
            while (wait := begun + step.at_s - time.monotonic()) > 0 and not stop.is_set():
                time.sleep(min(wait, _TICK_S))
            if stop.is_set():
                break
            begun -= wait if wait < -_LATE_S else 0.0
            node.outlet.show(step)
            if not number:
                announce("showing")
    finally:
        over.set()
        server.join()


def serve(stop: threading.Event) -> int:
    """Play the cell until `stop`; returns the exit code."""
    node = SimCell()
    try:
        settings = node.settings
        folder = Path(settings["cell_folder"]).expanduser()
        recording = states_of(folder, settings["seed"], settings["states"], stop)
        end = time.monotonic() + settings["wait_s"]
        heard = partial(node.outlet.heard, settings["listener"])
        spin(node, lambda: stop.is_set() or time.monotonic() >= end or heard())
        if recording is not None:
            play(node, node.steps(recording), stop)
        node.outlet.flush()
        print("sent:", json.dumps(node.outlet.report()), flush=True)
        write_json(settings["report"], node.outlet.report())
    finally:
        node.destroy_node()
    return 0


def main() -> int:
    """Entry point of the program."""
    code = answered("sim_cell_node", __doc__ or "", PARAMETERS)
    return run(serve) if code is None else code


if __name__ == "__main__":
    sys.exit(main())

# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Has a cell rendered by a process of its own, unless it lies on disk already.

The renderer holds this process's time for seconds at a stretch; one that runs
elsewhere can be stopped at once.
"""

import subprocess
import sys
import threading
from pathlib import Path

from robollm_core.errors import RobollmError
from robollm_core.synthetic.states import Recording, read_states, rendered

_COMMAND = (sys.executable, "-m", "robollm_core.cli.synth", "cell")
_TICK_S, _GRACE_S = 0.1, 1.0
_SPOKEN = "robollm: "


def states_of(folder: Path, seed: int, count: int, stop: threading.Event) -> Recording | None:
    """The states of a cell.

    Args:
        folder: of the cell; it is rendered there, once.
        seed: of the cell.
        count: how many states; 0 for whatever lies in the folder.
        stop: ends the rendering.

    Returns:
        The states; None when `stop` came first.

    Raises:
        RobollmError: If the simulator is missing or fails, in its own words.
        DatasetError: If what lies in the folder cannot be read.
    """
    if count and rendered(folder) != (seed, count):
        words = ("--out", str(folder), "--seed", str(seed), "--states", str(count))
        if not _render([*_COMMAND, *words], stop):
            return None
    return read_states(folder)


def _render(command: list[str], stop: threading.Event) -> bool:
    """Run the simulator, whose progress goes to our stdout; returns whether it was let finish."""
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    said = ""
    while True:
        try:
            _, said = process.communicate(timeout=_TICK_S)
            break
        except subprocess.TimeoutExpired:
            if stop.is_set():
                _end(process)
                return False
    if stop.is_set():  # Ctrl-C reaches the whole group
        return False
    if process.returncode:
        lines = said.strip().splitlines()
        own = [line.removeprefix(_SPOKEN) for line in lines if line.startswith(_SPOKEN)]
        last = lines[-1] if lines else "it said nothing"
        raise RobollmError(
            own[-1] if own else f"the simulator ended with code {process.returncode}: {last}"
        )
    return True


def _end(process: "subprocess.Popen[str]") -> None:
    process.terminate()
    try:
        process.communicate(timeout=_GRACE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()

# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The progress bar of a run: steps, pictures a second, time left."""

from collections.abc import Mapping
from types import TracebackType

from tqdm import tqdm

from robollm_core.training.distributed import Ranks

_FORMAT = "{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} {postfix}"


def seconds_left(
    step: int, steps: int, taken_s: float, elapsed_s: float, minutes: float | None
) -> float:
    """Time until the run ends, by its steps or by its clock, whichever comes first.

    Args:
        step: steps taken, of `steps`.
        steps: all.
        taken_s: seconds a step took so far, in the mean.
        elapsed_s: seconds of the whole run.
        minutes: the time budget, None for none.

    Returns:
        Seconds, at least 0.
    """
    left = (steps - step) * taken_s
    if minutes is not None:
        left = min(left, 60.0 * minutes - elapsed_s)
    return max(0.0, left)


class Bar:
    """Shows where a run is; only the first rank has one."""

    def __init__(
        self, steps: int, step: int, elapsed_s: float, minutes: float | None, ranks: Ranks
    ) -> None:
        """Begin at a step, and at the seconds that the run had by then."""
        self.steps = steps
        self.minutes = minutes
        self._began = (step, elapsed_s)
        self._images = 0
        self._bar = tqdm(
            total=steps,
            initial=step,
            unit="step",
            mininterval=1.0,
            bar_format=_FORMAT,
            disable=not ranks.first,
        )

    def __enter__(self) -> "Bar":
        """Itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the last state standing."""
        self._bar.close()

    def show(self, step: int, elapsed_s: float, images: int, figures: Mapping[str, float]) -> None:
        """One step more.

        Args:
            step: steps taken.
            elapsed_s: seconds of the run, validations included.
            images: pictures of this step, of all ranks.
            figures: of the loss.
        """
        self._images += images
        took = max(elapsed_s - self._began[1], 1e-9)
        left = seconds_left(
            step, self.steps, took / max(step - self._began[0], 1), elapsed_s, self.minutes
        )
        shown = {name: f"{value:.3f}" for name, value in figures.items()}
        shown |= {"images/s": f"{self._images / took:.1f}", "left": tqdm.format_interval(left)}
        self._bar.set_postfix(shown, refresh=False)
        self._bar.update()

# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""log.csv, one row a figure, so that figures may come and go; and the same for TensorBoard."""

import csv
import importlib.util
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from robollm_core.errors import DependencyError, OutputError
from robollm_core.files import write_file

_COLUMNS = ("step", "elapsed_s", "name", "value")


class Journal:
    """Rows (step, elapsed_s, name, value), kept in memory and written whole."""

    def __init__(self, path: Path, board: Path | None = None) -> None:
        """Start empty; `resume` reads what an earlier run wrote.

        Args:
            path: the .csv file.
            board: folder of TensorBoard's event files, None for none.

        Raises:
            DependencyError: If TensorBoard is wanted and not installed.
        """
        self.path = path
        self.board = board
        self.rows: list[tuple[int, float, str, float]] = []
        self._resumed = 0
        self._shown = 0
        self._writer: Any = None  # torch.utils.tensorboard has no types
        if board is not None and importlib.util.find_spec("tensorboard") is None:
            raise DependencyError(
                "the log for TensorBoard needs the package tensorboard: install the extra "
                "[train], or set tensorboard=false."
            )

    def add(self, step: int, elapsed_s: float, figures: Mapping[str, float]) -> None:
        """Note some figures of one step."""
        self.rows += [(step, round(elapsed_s, 3), name, value) for name, value in figures.items()]

    def resume(self, step: int) -> None:
        """Take back the rows up to a step; later ones will be made again.

        Raises:
            OutputError: If the file exists and cannot be read.
        """
        self._resumed = step
        if not self.path.exists():
            return
        try:
            with self.path.open(newline="", encoding="utf-8") as file:
                read = list(csv.DictReader(file))
            self.rows = [
                (int(row["step"]), float(row["elapsed_s"]), row["name"], float(row["value"]))
                for row in read
                if int(row["step"]) <= step
            ]
        except (OSError, KeyError, ValueError, TypeError) as error:
            raise OutputError(f"cannot go on with the log {self.path}: {error}") from error
        self._shown = len(self.rows)

    def flush(self) -> None:
        """Write all rows beside the file, then rename.

        Raises:
            OutputError: If it cannot be written; the old file stays.
        """
        text = io.StringIO(newline="")
        writer = csv.writer(text)
        writer.writerow(_COLUMNS)
        writer.writerows(self.rows)
        write_file(self.path, text.getvalue().encode())
        if self.board is not None:
            self._show(self.board)

    def close(self) -> None:
        """Let go of the event file."""
        if self._writer is not None:
            self._writer.close()

    def _show(self, board: Path) -> None:
        """Add the new rows to the event file; later ones of a run that broke off are purged."""
        try:
            if self._writer is None:
                self._writer = _open_board(board, self._resumed + 1)
            for step, _, name, value in self.rows[self._shown :]:
                self._writer.add_scalar(name.replace("val_", "val/", 1), value, step)
            self._writer.flush()
        except OSError as error:
            raise OutputError(
                f"cannot write TensorBoard's log {board}: {error}. Free some space and add "
                "--resume, or set tensorboard=false."
            ) from error
        self._shown = len(self.rows)


def _open_board(board: Path, step: int) -> Any:
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(board), purge_step=step)

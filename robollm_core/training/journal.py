# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""log.csv: one row a figure, so that figures may come and go."""

import csv
import io
from collections.abc import Mapping
from pathlib import Path

from robollm_core.data.files import write_file
from robollm_core.errors import OutputError

_COLUMNS = ("step", "elapsed_s", "name", "value")


class Journal:
    """Rows (step, elapsed_s, name, value), kept in memory and written whole."""

    def __init__(self, path: Path) -> None:
        """Start empty; `resume` reads what an earlier run wrote."""
        self.path = path
        self.rows: list[tuple[int, float, str, float]] = []

    def add(self, step: int, elapsed_s: float, figures: Mapping[str, float]) -> None:
        """Note some figures of one step."""
        self.rows += [(step, round(elapsed_s, 3), name, value) for name, value in figures.items()]

    def resume(self, step: int) -> None:
        """Take back the rows up to a step; later ones will be made again.

        Raises:
            OutputError: If the file exists and cannot be read.
        """
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

# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Files of a data set that cannot be used, kept as a list instead of ending the run.

A reader that is given such a list leaves a broken sample out and notes it; a
reader without one raises at the first. The share that may be broken is limited:
figures of a remnant are figures of another data set.
"""

from dataclasses import dataclass, field
from typing import Any

from robollm_core.errors import DatasetError

MAX_SHARE = 0.05
"""Share of broken samples from which an evaluation is refused."""


@dataclass(frozen=True, slots=True)
class BrokenFile:
    """One file that cannot be used.

    Attributes:
        path: the file, or the folder of a sample, as it was asked for.
        reason: one sentence.
    """

    path: str
    reason: str


@dataclass(slots=True)
class BrokenFiles:
    """What was left out, in the order it was met; each path once.

    Attributes:
        entries: the files.
        limit: largest share of the samples that may be broken.
    """

    entries: list[BrokenFile] = field(default_factory=list)
    limit: float = MAX_SHARE
    _paths: set[str] = field(default_factory=set, init=False, repr=False, compare=False)

    def add(self, path: object, reason: object) -> None:
        """Note a file; a second reason for the same path is not kept."""
        if str(path) not in self._paths:
            self._paths.add(str(path))
            self.entries.append(BrokenFile(str(path), str(reason)))

    def check(self, samples: int) -> None:
        """Refuse a data set of which too much is broken.

        Args:
            samples: how many were asked for, broken ones included.

        Raises:
            DatasetError: If more than that share is; names the first.
        """
        if len(self.entries) > self.limit * samples:
            first = self.entries[0]
            raise DatasetError(
                f"{len(self.entries)} of {samples} samples cannot be used, more than "
                f"{self.limit:.0%}; the first: {first.reason} `robollm dataset check` lists "
                "all; copy the data set again, or take the broken samples out of its lists."
            )

    def to_json(self) -> list[dict[str, Any]]:
        """The list as plain JSON values."""
        return [{"path": entry.path, "reason": entry.reason} for entry in self.entries]

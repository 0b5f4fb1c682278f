# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""What the kernel tells of another process: memory, processor time, open files, threads."""

import os
from pathlib import Path

from robollm_core.errors import ConfigError

_TICKS = os.sysconf("SC_CLK_TCK")
_AFTER_NAME = ") "
"""The name of a program may hold anything; the fields of stat begin behind its last bracket."""
_UTIME, _STIME = 11, 12
"""Places of the two times among the fields behind the name."""


def look(pid: int) -> dict[str, float]:
    """A process as it is now.

    Args:
        pid: of a process that this one may look at.

    Returns:
        "rss_kib", "peak_kib", "handles" (open files), "threads" and "cpu_s" (processor
        seconds since its start).

    Raises:
        ConfigError: If there is no such process, or no /proc.
    """
    folder = Path(f"/proc/{pid}")
    try:
        text = (folder / "status").read_text(encoding="utf-8", errors="replace")
        told = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
        stat = (folder / "stat").read_text(encoding="utf-8", errors="replace")
        fields = stat.rsplit(_AFTER_NAME, 1)[1].split()
        return {
            "rss_kib": int(told["VmRSS"].split()[0]),
            "peak_kib": int(told["VmHWM"].split()[0]),
            "handles": sum(1 for _ in (folder / "fd").iterdir()),
            "threads": int(told["Threads"]),
            "cpu_s": (int(fields[_UTIME]) + int(fields[_STIME])) / _TICKS,
        }
    except (OSError, KeyError) as error:
        raise ConfigError(
            f"process {pid} cannot be looked at ({error!r}); has it ended? Without /proc nothing "
            "can be measured."
        ) from error

# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""What this machine's processor says of itself."""

import platform
from pathlib import Path


def told() -> dict[str, list[str]]:
    """Key to its values, one a core, as Linux tells them; empty elsewhere."""
    found: dict[str, list[str]] = {}
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            key, separator, value = line.partition(":")
            if separator:
                found.setdefault(key.strip(), []).append(value.strip())
    except OSError:
        pass  # not Linux
    return found


def model() -> str:
    """Its name, as far as the system knows it."""
    return told().get("model name", [platform.processor() or platform.machine()])[0]


def instructions() -> str:
    """The instruction sets it has, separated by spaces; "" when nobody tells."""
    fields = told()
    return fields.get("flags", fields.get("Features", [""]))[0]

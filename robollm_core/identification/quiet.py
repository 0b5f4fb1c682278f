# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""No garbage collection while very many objects are made that are no garbage.

Python's collector looks at all objects whenever a quarter more of them has been made. Where a
manifest of 100 000 items is read it does so several times, and each time every thread stands
still for half a second. What is not in a cycle is freed without the collector.
"""

import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.Lock()
_state = {"inside": 0, "enabled": 0}


@contextmanager
def without_collection() -> Iterator[None]:
    """Keep the collector off while the block runs, in all threads; blocks may overlap."""
    with _lock:
        if _state["inside"] == 0:
            _state["enabled"] = int(gc.isenabled())
            gc.disable()
        _state["inside"] += 1
    try:
        yield
    finally:
        with _lock:
            _state["inside"] -= 1
            if _state["inside"] == 0 and _state["enabled"]:
                gc.enable()

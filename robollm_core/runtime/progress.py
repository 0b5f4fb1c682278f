# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""What a start that takes minutes does now, for whoever wants to tell others: the node's health."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Listener = Callable[[str], None]
_listeners: list[Listener] = []


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Give every line to `listener` until the block ends.

    Args:
        listener: called in the thread that loads, or in one that watches a build.
    """
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


def note(line: str) -> None:
    """Tell the listeners alone what begins now."""
    for listener in tuple(_listeners):
        listener(line)


def tell(line: str) -> None:
    """Tell on stderr, and the listeners."""
    print(f"robollm: {line}", file=sys.stderr, flush=True)
    note(line)

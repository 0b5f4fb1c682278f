# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""JSON from outside: no key twice, no NaN, no nesting without end; anything else is refused."""

import json
from typing import Any, NoReturn

from robollm_core.errors import RobollmError


def decode_json(data: bytes, source: str, kind: str, refusal: type[RobollmError]) -> Any:
    """Decode a text.

    Args:
        data: UTF-8.
        source: name for error messages, such as a path or a topic.
        kind: what it should be, with its article.
        refusal: the error to raise.

    Raises:
        RobollmError: Of the class `refusal`, if it is not UTF-8 or not JSON, names a
            key twice, or is nested too deeply.
    """
    try:
        return json.loads(
            data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_refuse_constant
        )
    except RecursionError:
        raise refusal(f"{source} is nested too deeply to be {kind}.") from None
    except ValueError as error:  # UnicodeDecodeError and JSONDecodeError among them
        raise refusal(f"{source} is not JSON: {error}") from error


def brief(text: str) -> str:
    """What was refused, short enough for a log line and free of halves of surrogate pairs."""
    # half a surrogate pair can be neither logged nor sent
    text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return text if len(text) <= 200 else f"{text[:160]} ... {text[-30:]}"


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for key, value in pairs:
        if key in tree:
            raise ValueError(f"the key {brief(repr(key))} is twice")
        tree[key] = value
    return tree


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")

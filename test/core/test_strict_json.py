# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""JSON that Python's reader takes and we do not."""

import pytest

from robollm_core import strict_json
from robollm_core.errors import ManifestError, PickError
from robollm_core.strict_json import brief, decode_json


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b'{"a": 1, "a": 2}', "the key 'a' is twice"),
        (b"[NaN]", "NaN is not a JSON number"),
        (b"[-Infinity]", "Infinity is not a JSON number"),
        (b"\xff", "is not JSON"),
        (b"", "is not JSON"),
        (b"[" * 100_000, "is nested too deeply to be a manifest"),
    ],
)
def test_it_is_refused_with_the_class_asked_for(data, why):
    for refusal in (ManifestError, PickError):
        with pytest.raises(refusal, match=why) as refused:
            decode_json(data, "the text", "a manifest", refusal)
        assert str(refused.value).startswith("the text ")


def test_the_rest_is_read():
    tree = decode_json('{"a": [1, 2.5, "ü", null, true]}'.encode(), "it", "a tree", PickError)
    assert tree == {"a": [1, 2.5, "ü", None, True]}


def test_what_is_refused_is_told_briefly_and_can_be_logged():
    assert brief("short") == "short"
    told = brief("x" * 10_000 + "\ud800 end")
    assert len(told) < 210
    assert told.endswith("end")
    told.encode()


class CountedKey(str):
    """A key that counts how often it is compared."""

    __slots__ = ()
    __hash__ = str.__hash__
    compared = 0

    def __eq__(self, other):
        CountedKey.compared += 1
        assert CountedKey.compared <= 10**6, "each key is compared with all others"
        return str.__eq__(self, other)


def test_finding_a_key_twice_takes_one_pass(monkeypatch):
    many = [*map(str, range(10**5)), "99999"]
    monkeypatch.setattr(CountedKey, "compared", 0)
    with pytest.raises(ValueError, match="'99999' is twice"):
        strict_json._unique([(CountedKey(key), None) for key in many])
    assert CountedKey.compared < len(many)

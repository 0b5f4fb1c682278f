# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Manifests are read whole or refused with the path of the field."""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from robollm_core import manifests
from robollm_core.errors import ManifestError
from robollm_core.manifests import (
    MAX_BYTES,
    ManifestHistory,
    check_version,
    manifest_json,
    parse_manifest,
    read_manifest,
)
from robollm_core.types import Manifest, ManifestItem

SCHEMA = Path(__file__).resolve().parents[2] / "config/schema/container_manifest.schema.json"
NAMES = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1, max_size=20
)
ITEMS = st.builds(
    ManifestItem,
    item_id=NAMES,
    quantity=st.integers(0, 1_000_000),
    text=st.text(st.characters(codec="utf-8"), max_size=40),
    weight_kg=st.floats(0, 10_000),
    dims_m=st.tuples(*[st.floats(0, 100)] * 3),
    reference_images=st.lists(NAMES, max_size=4).map(tuple),
)
MANIFESTS = st.builds(
    Manifest,
    container_id=NAMES,
    version=st.integers(0, 2**53 - 1),
    items=st.lists(ITEMS, max_size=5, unique_by=lambda item: item.item_id).map(tuple),
    complete=st.booleans(),
)


def product(**changes):
    return {"product_id": "B00X", "reference_images": ["B00X/1.jpg"], **changes}


def text(*products, **changes):
    return json.dumps({"container_id": "T-1", "products": list(products), **changes})


def test_the_schema_is_a_schema():
    jsonschema.Draft202012Validator.check_schema(json.loads(SCHEMA.read_text()))


@given(MANIFESTS)
def test_round_trip(manifest):
    written = manifest_json(manifest)
    got = parse_manifest(written, "x")
    assert replace(got, sha256="") == manifest
    assert got.sha256 == hashlib.sha256(written.encode()).hexdigest()
    assert parse_manifest(written.encode(), "x") == got


def test_every_field_of_the_contract_is_accepted():
    got = parse_manifest(
        text(
            product(quantity=2, picked=1, text="tea", weight_kg=0.31, dims_m=[0.1, 0.2, 0.05],
                    embedding_key="B00X@gallery-9"),
            schema="robollm.container_manifest/1", version=7, sha256="ab", complete=True,
            stamp={"sec": 0, "nanosec": 0},
        ),
        "x",
    )  # fmt: skip
    assert got.version == 7
    assert got.items == (ManifestItem("B00X", 1, "tea", 0.31, (0.1, 0.2, 0.05), ("B00X/1.jpg",)),)


@pytest.mark.parametrize("said", [{}, {"reference_images": []}])
def test_a_product_may_come_without_references(said):
    got = parse_manifest(text({"product_id": "B00X", **said}), "x")
    assert got.items == (ManifestItem("B00X"),)


@pytest.mark.parametrize(("said", "complete"), [({}, True), ({"complete": False}, False)])
def test_a_manifest_is_complete_unless_it_says_otherwise(said, complete):
    assert parse_manifest(text(product(), **said), "x").complete is complete


LEAVES = st.one_of(
    st.sampled_from(
        ["", "a", "a\n", "\ud800", "\U0001f600", "\x7f", "x" * 257, "x" * 1025, "x" * 65537]
    ),
    st.sampled_from([True, False, None, 0, -1, 2.0, 1.5, 10**6, 10**6 + 1, 10**400, 100.5, -0.0]),
)
VALUES = LEAVES | st.lists(LEAVES, max_size=4) | st.just(["a"] * 65) | st.just([0, 1, 100])
PRODUCTS = VALUES | st.dictionaries(
    st.sampled_from(
        ["product_id", "quantity", "picked", "text", "weight_kg", "dims_m", "reference_images",
         "embedding_key", "colour"]
    ),
    VALUES,
)  # fmt: skip


@given(PRODUCTS)
def test_what_is_passed_over_is_what_the_schema_allows(tree):
    whole = json.loads(SCHEMA.read_text())
    schema = jsonschema.Draft202012Validator({"$defs": whole["$defs"], "$ref": "#/$defs/product"})
    if manifests._plainly_right(tree):
        assert schema.is_valid(tree)


@given(st.lists(PRODUCTS | ITEMS.map(lambda item: {"product_id": item.item_id}), max_size=3))
def test_a_manifest_is_read_just_when_its_schema_allows_it(products):
    tree = {"container_id": "T", "products": products}
    allowed = jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text())).is_valid(tree)
    try:
        parse_manifest(json.dumps(tree), "x")
    except ManifestError as error:
        # what no schema can say
        assert not allowed or re.search(r"is already|picked of a quantity", str(error))
    else:
        assert allowed


def test_an_empty_container_is_a_manifest():
    assert parse_manifest(text(), "x").items == ()


def test_armbench_container_json_is_a_manifest():
    container = {
        "B0B": {"text": "mug", "weight": 0.4, "dimensions": [0.1, 0.1, 0.12], "asin": "ignored"},
        "B0A": {"quantity": 3},
    }
    got = parse_manifest(json.dumps(container), "x")
    assert [item.item_id for item in got.items] == ["B0B", "B0A"]
    assert got.items[0] == ManifestItem(
        "B0B", 1, "mug", 0.4, (0.1, 0.1, 0.12), ("Reference_Images/B0B",)
    )
    assert got.items[1].quantity == 3
    assert got.container_id == got.sha256[:12]


@pytest.mark.parametrize(
    "source, told",
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        (text(product())[:-5], "not JSON"),
        (b"\xff\xfe{}", "not JSON"),
        ('{"a": NaN}', "NaN is not a JSON number"),
        ('{"container_id": "T", "products": [], "version": Infinity}', "not a JSON number"),
        ("9" * 5000, "not JSON"),
        ("[" * 100_000, "nested too deeply"),
        ("[]", r"\$: \[\] is not of type 'object'"),
        ("3", r"\$: 3 is not of type 'object'"),
        ("null", r"\$: None is not of type 'object'"),
        ("{}", r"\$: \{\} should be non-empty"),
        ('{"B00X": 5}', r"\$\.B00X: 5 is not of type 'object'"),
        ('{"B00X": {"weight": "heavy"}}', r"\$\.B00X\.weight: 'heavy' is not of type 'number'"),
        ('{"A": {}, "A": {}}', "'A' is twice"),
        (f'{{"{"A" * 9999}": {{}}, "{"A" * 9999}": {{}}}}', r"'AA+ \.\.\. A+' is twice"),
        (f'{{"{"A" * 250}": 5}}', r"\$\.A+ \.\.\. A+: 5 is not of type 'object'"),
        (f'{{"{"A" * 99999}": {{}}}}', r"\$: 'A+ \.\.\. "),
        ('{"": {}}', r"\$"),
        ('{"container_id": "T"}', r"\$: 'products' is a required property"),
        (text(container_id=7), r"\$\.container_id: 7 is not of type 'string'"),
        (text(container_id=""), r"\$\.container_id"),
        (text(version=-1), r"\$\.version"),
        (text(version="3"), r"\$\.version: '3' is not of type 'integer'"),
        (text(complete="no"), r"\$\.complete: 'no' is not of type 'boolean'"),
        (text(schema="robollm.container_manifest/2"), r"\$\.schema"),
        (text(colour="red"), "'colour' was unexpected"),
        (text(product(), 5), r"\$\.products\[1\]: 5 is not of type 'object'"),
        (text({"reference_images": ["a"]}), r"\$\.products\[0\]: 'product_id' is a required"),
        (text(product(), product(product_id="B", weight_kg="x")), r"\$\.products\[1\]\.weight_kg"),
        (text(product(dims_m=[1, 2])), r"\$\.products\[0\]\.dims_m"),
        (text(product(dims_m=[1, 2, "3"])), r"\$\.products\[0\]\.dims_m\[2\]"),
        (text(product(quantity=1.5)), r"\$\.products\[0\]\.quantity"),
        (text(product(quantity=True)), r"\$\.products\[0\]\.quantity"),
        (text(product(quantity=1, picked=2)), r"\$\.products\[0\]\.picked"),
        (text(product(reference_images="a")), r"\$\.products\[0\]\.reference_images: 'a' is not"),
        (text(product(reference_images=["a"] * 65)), r"\$\.products\[0\]\.reference_images"),
        (text(product(reference_images=[""])), r"reference_images\[0\]"),
        (text(product(reference_images=["a\0b"])), r"reference_images\[0\]"),
        (text(product(product_id="a\ud800")), r"\$\.products\[0\]\.product_id"),
        (text(product(text="\udfff")), r"\$\.products\[0\]\.text"),
        (text(container_id="\ud83d"), r"\$\.container_id"),
        (text(product(), product()), r"\$\.products\[1\]\.product_id: 'B00X' is already"),
        (text(product(weight_kg=1e9)), r"\$\.products\[0\]\.weight_kg"),
        (text(product(ref_images=["a"])), "'ref_images' was unexpected"),
    ],
)
def test_wrong_manifests_name_the_field(source, told):
    with pytest.raises(ManifestError, match=told) as caught:
        parse_manifest(source, "wms")
    assert str(caught.value).startswith("wms")
    assert len(str(caught.value)) < 600


def test_many_keys_are_refused_quickly():
    many = ", ".join(f'"{number}": {{}}' for number in range(10**5))
    with pytest.raises(ManifestError, match="'99999' is twice"):
        parse_manifest(f'{{{many}, "99999": {{}}}}', "x")
    with pytest.raises(ManifestError, match="too many properties"):
        parse_manifest(f"{{{many}}}", "x")


def many_products(count):
    return [
        {"product_id": f"B{n:08}", "quantity": 2, "picked": 1, "text": "a thing of the shelf " * 4,
         "weight_kg": 0.3, "dims_m": [0.1, 0.2, 0.05],
         "reference_images": [f"Reference_Images/B{n:08}/1.jpg"]}
        for n in range(count)
    ]  # fmt: skip


@pytest.mark.slow
def test_a_hundred_thousand_products_are_read_in_seconds():
    whole = text(*many_products(10**5)).encode()
    assert len(whole) < MAX_BYTES
    begin = time.process_time()
    got = parse_manifest(whole, "x")
    assert time.process_time() - begin < 10
    assert len(got.items) == 10**5
    assert got.items[-1].item_id == "B00099999"


@pytest.mark.slow
def test_the_one_wrong_product_of_a_hundred_thousand_is_named():
    products = many_products(10**5)
    products[-1]["weight_kg"] = "heavy"
    with pytest.raises(ManifestError, match=r"\$\.products\[99999\]\.weight_kg: 'heavy' is not"):
        parse_manifest(text(*products), "x")


def test_too_many_products_are_refused_with_the_limit(monkeypatch):
    most = json.loads(SCHEMA.read_text())["$defs"]["manifest"]["properties"]["products"]["maxItems"]
    too_many = b'{"container_id": "T", "products": [%s]}' % b",".join([b"0"] * (most + 1))
    with pytest.raises(ManifestError, match=f"at most {most} products, got {most + 1}"):
        parse_manifest(too_many, "x")


def test_a_version_is_an_int_however_it_is_written():
    got = parse_manifest(text(version=7.0), "x")
    assert type(got.version) is int
    assert '"version":7,' in manifest_json(got)


def test_a_huge_manifest_is_refused_before_it_is_read(tmp_path):
    with pytest.raises(ManifestError, match=str(MAX_BYTES)):
        parse_manifest(b" " * (MAX_BYTES + 1), "x")
    path = tmp_path / "big.json"
    with path.open("wb") as file:
        file.truncate(10 * MAX_BYTES)
    with pytest.raises(ManifestError, match="bytes"):
        read_manifest(path)


def test_read_manifest_names_a_missing_file(tmp_path):
    with pytest.raises(ManifestError, match=r"none\.json"):
        read_manifest(tmp_path / "none.json")


@given(st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["container_id", "products", "version", "product_id", "a"]), inner,
        max_size=3),
    max_leaves=8,
))  # fmt: skip
def test_any_json_is_read_or_refused(tree):
    try:
        got = parse_manifest(json.dumps(tree), "x")
    except ManifestError:
        return
    assert len({item.item_id for item in got.items}) == len(got.items)


def test_versions_only_go_up():
    old, new = Manifest("T", 1, ()), Manifest("T", 2, ())
    check_version(None, old)
    check_version(old, new)
    check_version(new, new)
    check_version(new, Manifest("U", 0, ()))
    with pytest.raises(ManifestError, match="version 2, got the older 1"):
        check_version(new, old)


def test_a_history_keeps_the_newest_manifests():
    history = ManifestHistory(3)
    assert history.current is None
    assert history.at("T") is None
    made = [Manifest("T", 1, ()), Manifest("T", 2, ()), Manifest("U", 7, ()), Manifest("T", 3, ())]
    for manifest in made:
        history.put(manifest)
        assert history.current is manifest
    assert history.at("T", 1) is None  # of four, three are kept
    assert history.at("T", 2) is made[1]
    assert history.at("U", 7) is made[2]
    assert history.at("U", 8) is None
    assert history.at("T") is made[3]
    assert history.at("U") is made[2]


def test_a_history_refuses_a_step_back_and_takes_a_repetition():
    history = ManifestHistory(2)
    history.put(Manifest("T", 2, ()))
    with pytest.raises(ManifestError, match="version 2, got the older 1"):
        history.put(Manifest("T", 1, ()))
    assert history.current.version == 2
    again = Manifest("T", 2, (ManifestItem("A"),))
    history.put(again)
    assert history.current is again
    assert history.at("T", 2) is again


def test_the_schema_is_found_when_installed(tmp_path):
    root = SCHEMA.parents[2]
    site = tmp_path / "lib" / "python3" / "site-packages" / "robollm_core"
    site.mkdir(parents=True)
    for name in ("__init__", "errors", "types", "manifests"):
        shutil.copy(root / "robollm_core" / f"{name}.py", site)
    share = tmp_path / "share" / "robollm" / "config" / "schema"
    code = (
        "from robollm_core.manifests import parse_manifest as p; print(p('{\"A\": {}}', 'x').items)"
    )
    command = [sys.executable, "-c", code]
    env = {**os.environ, "PYTHONPATH": str(site.parent)}
    lost = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True)
    assert "reinstall robollm" in lost.stderr
    shutil.copytree(SCHEMA.parent, share)
    found = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True)
    assert "item_id='A'" in found.stdout, found.stderr

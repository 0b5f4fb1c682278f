# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""bundle.json is believed only as far as files and sidecars agree with it."""

import hashlib
import json
from pathlib import Path

import jsonschema
import pytest

pytest.importorskip("onnx", reason="the stand-in networks need onnx")

import small_bundle
from small_bundle import KINDS, described, write_as

from robollm_core.config import leaves
from robollm_core.errors import ArtifactError
from robollm_core.runtime.bundle import check_bundle
from robollm_core.runtime.bundle_description import parse_description, thresholds

SCHEMA = Path(__file__).resolve().parents[3] / "config/schema/bundle.schema.json"


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """The files of a sound bundle, by name; it has a network of a second precision."""
    folder = tmp_path_factory.mktemp("sound")
    models = small_bundle.write_models(folder / "models")
    for stage in ("segmentation", "identification", "defects"):
        for suffix in ("onnx", "json"):
            data = (models / f"{stage}.{suffix}").read_bytes()
            (models / f"{stage}.fp16.{suffix}").write_bytes(data)
    bundle = small_bundle.write_bundle(folder / "bundle", models, precisions=("fp16",))
    return small_bundle.files_of(bundle)


def refusal(files, place, kind="folder"):
    with pytest.raises(ArtifactError) as failure:
        check_bundle(write_as(kind, files, place))
    assert "\n" not in str(failure.value)
    return str(failure.value)


def harmed(files, name, change):
    return {**files, name: change(files[name])}


def flipped(data):
    return data[:4] + bytes([data[4] ^ 1]) + data[5:]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["defects.onnx", "defects.json", "LICENSE", "segmentation.md"])
def test_a_changed_missing_shorter_or_longer_file_is_refused(sound, tmp_path, kind, name):
    for number, change in enumerate((flipped, lambda d: d[:-1], lambda d: d + b"\0")):
        told = refusal(harmed(sound, name, change), tmp_path / str(number), kind)
        assert f"{name} was changed or damaged" in told
    lacking = {key: data for key, data in sound.items() if key != name}
    assert f"lacks {name}" in refusal(lacking, tmp_path / "lacking", kind)


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_is_not_listed_is_refused(sound, tmp_path, kind):
    told = refusal({**sound, "notes.txt": b"hello"}, tmp_path / "b", kind)
    assert "holds notes.txt, which its bundle.json does not list" in told


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"{", "is not JSON"),
        (b"", "is not JSON"),
        (b"\xff\xfe", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b'{"format": 1, "format": 1}', "twice"),
        (b"[]", "format 1, got None"),
        (b'"format"', "format 1, got None"),
        (b'{"format": 2}', "format 1, got 2"),
        (b'{"format": 1}', "required"),
        (b'{"format": 1, "needs": 7}', "required"),
    ],
)
def test_a_description_that_is_none_is_refused(sound, tmp_path, text, words):
    for kind in KINDS:
        assert words in refusal({**sound, "bundle.json": text}, tmp_path / "b", kind)


@pytest.mark.parametrize("kind", ["folder", "tar"])
def test_a_description_of_a_megabyte_is_refused_unread(sound, tmp_path, kind):
    files = {**sound, "bundle.json": b" " * ((1 << 20) + 1)}
    assert "at most 1048576" in refusal(files, tmp_path / "b", kind)


def test_a_bundle_of_a_later_robollm_says_which(sound, tmp_path):
    files = described(sound, lambda tree: tree.update(needs="99.0.10", speed=1))
    assert "needs robollm 99.0.10 or later, this is" in refusal(files, tmp_path / "b")


def put(*keys_and_value):
    """A change that sets tree[a][b][...] = value."""
    *keys, last, value = keys_and_value

    def change(tree):
        for key in keys:
            tree = tree[key]
        tree[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (put("speed", 1), "speed"),
        (put("name", "../../etc"), "$.name"),
        (put("name", ""), "$.name"),
        (put("version", "1\n2"), "$.version"),
        (put("version", "1\n"), "$.version"),
        (put("stages", "defects", "precision", "\x1b[2J"), "$.stages.defects.precision"),
        (put("stages", "defects", "artifact", "\x1b.onnx"), "no such file"),
        (put("date", "yesterday"), "$.date"),
        (put("license", "\x1b[2J"), "$.license"),
        (put("stages", "defects", "artifact", "../defects.onnx"), "$.stages.defects.artifact"),
        (put("stages", "tracking", {}), "tracking"),
        (put("files", "defects.onnx", "sha256", "X" * 64), "sha256"),
        (put("files", "defects.onnx", "bytes", -1), "bytes"),
        (put("files", {}), "$.files"),
        (put("values", "defects.threshold", None), "$.values"),
        (put("values", "defects.threshold", 1.5), "must lie in [0.0, 1.0], got 1.5"),
        (put("values", "defects.threshold", "high"), "must be float"),
        (put("values", "defects.threshold", float("nan")), "must lie in"),
        (put("values", "defects.threshold", 10**400), "too large"),
        (put("values", "identification.top_k", True), "must be int"),
        (put("values", "defects.artifact", "/etc/passwd"), "cannot set 'defects.artifact'"),
        (put("values", "runtime.cache", "/"), "cannot set 'runtime.cache'"),
        (put("values", "nonsense", 1), "cannot set 'nonsense'"),
        (put("files", "license", {"bytes": 1, "sha256": "0" * 64}), "twice, but for the case"),
        (put("files", "bundle.json", {"bytes": 1, "sha256": "0" * 64}), "twice, but for the case"),
        (put("files", "LICENSE/x", {"bytes": 1, "sha256": "0" * 64}), "a file and a folder"),
        (put("stages", "defects", "labels", ["a", "b", "c"]), "what its sidecar does not"),
        (put("stages", "defects", "precision", "int8"), "what its sidecar does not"),
        (put("stages", "identification", "gallery", {"scale": 3.0}), "what its sidecar does not"),
        (put("stages", "defects", "others", ["gone.onnx"]), "'gone.onnx', but no such"),
        (put("stages", "defects", "artifact", "segmentation.onnx"), "of the stage defects"),
        (put("stages", "defects", "others", ["segmentation.onnx"]), "of the stage defects"),
        (put("stages", "identification_fusion", {"artifact": "defects.onnx", "precision": "fp32",
             "preprocessing": {}}), "of the stage identification_fusion"),
    ],
)  # fmt: skip
def test_a_description_that_tells_what_cannot_be_is_refused(sound, tmp_path, change, words):
    assert words in refusal(described(sound, change), tmp_path / "b")


@pytest.mark.parametrize("name", ["defects", "defects.fp16"])
def test_a_sidecar_of_another_file_is_refused(sound, tmp_path, name):
    files = {**sound, f"{name}.onnx": sound[f"{name}.onnx"] + b"\0"}
    told = refusal(described(files), tmp_path / "b")
    assert f"the sidecar is about a file {name}.onnx" in told


def test_a_network_without_a_sidecar_is_refused(sound, tmp_path):
    files = {name: data for name, data in sound.items() if name != "defects.json"}
    assert "defects.onnx has no sidecar defects.json" in refusal(described(files), tmp_path / "b")


def test_what_is_nested_without_end_is_refused(sound, tmp_path):
    sidecar = json.loads(sound["defects.json"])
    text = json.dumps({**sidecar, "meta": {"crop": "HERE"}})
    for depth in (900, 5000, 200_000):
        deep = text.replace('"HERE"', '{"a":' * depth + "1" + "}" * depth)
        refusal(described({**sound, "defects.json": deep.encode()}), tmp_path / "b")


@pytest.mark.parametrize("text", [b"", b"{}", b"[" * 100_000, b"\xff", b"5"])
def test_a_sidecar_that_is_none_is_refused(sound, tmp_path, text):
    told = refusal(described({**sound, "defects.json": text}), tmp_path / "b")
    assert "defects.json is not a sidecar" in told or "no sidecar defects.json" in told


def test_a_sidecar_of_a_megabyte_is_refused(sound, tmp_path):
    large = sound["defects.json"] + b" " * (1 << 20)
    assert "no sidecar has" in refusal(described({**sound, "defects.json": large}), tmp_path / "b")


@pytest.mark.parametrize(
    ("external", "words"),
    [
        ({"file": "defects.onnx.data", "sha256": "0" * 64}, "the bundle has none"),
        ({"file": "../secret", "sha256": "0" * 64}, "must name defects.onnx.data"),
        ("defects.onnx.data", "must name defects.onnx.data"),
    ],
)
def test_tensors_in_a_second_file_must_be_there(sound, tmp_path, external, words):
    sidecar = json.loads(sound["defects.json"])
    sidecar["meta"]["external"] = external
    files = {**sound, "defects.json": json.dumps(sidecar).encode()}
    assert words in refusal(described(files), tmp_path / "b")


def test_the_schema_is_one_and_takes_what_is_made(sound):
    schema = json.loads(SCHEMA.read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(json.loads(sound["bundle.json"]), schema)


def test_what_a_bundle_sets_are_the_thresholds_of_the_stages():
    assert set(thresholds()) == {
        "segmentation.score_threshold", "segmentation.mask_threshold",
        "segmentation.max_instances", "identification.min_similarity",
        "identification.min_margin", "identification.top_k", "defects.threshold",
    }  # fmt: skip
    assert set(thresholds()) < {leaf.name for leaf in leaves()}


def test_the_digest_of_a_bundle_is_that_of_its_description(sound):
    bundle = parse_description(sound["bundle.json"], Path("b"))
    assert bundle.sha256 == hashlib.sha256(sound["bundle.json"]).hexdigest()
    assert bundle.artifacts("defects") == ("defects.onnx", "defects.fp16.onnx")
    assert bundle.artifacts("identification_fusion") == ()

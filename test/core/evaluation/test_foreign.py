# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Encoders of others against their preprocessing worked out with Pillow and NumPy alone."""

import json
from dataclasses import replace

import numpy as np
import pytest
import small_foreign
import small_sets
import yaml
from onnx import TensorProto
from PIL import Image

from robollm_core.config import Config, RuntimeConfig
from robollm_core.data.samples import Picture, Region
from robollm_core.errors import ArtifactError, ConfigError, RuntimeUnavailableError
from robollm_core.evaluation.embedding import embed_split
from robollm_core.evaluation.foreign import open_foreign
from robollm_core.evaluation.outcome import Request
from robollm_core.evaluation.preprocess import read_preprocess
from robollm_core.images import read_image

STATED = small_foreign.STATED
OUTLINE = Region(polygons=((4.0, 5.0, 24.0, 5.0, 14.0, 30.0),))
BOX = Region(box_xyxy_px=(4.0, 5.0, 25.0, 31.0))


@pytest.fixture
def photo(tmp_path):
    """A smooth (40, 30) picture with some edges, so that filters differ."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:40, :30]
    pixels = np.stack([6 * y, 8 * x, 3 * (x + y)], axis=2) % 256
    pixels[8:20, 6:14] = rng.integers(0, 255, (12, 8, 3))
    path = tmp_path / "photo.png"
    Image.fromarray(pixels.astype(np.uint8)).save(path)
    return path


def by_hand(image, size_hw, kind=Image.Resampling.BICUBIC, mean=None, std=None):
    """(3, h, w) float64: squashed, in RGB, normalised."""
    small = np.asarray(image.resize(size_hw[::-1], kind), np.float64) / 255
    scaled = (small - (mean or STATED["mean"])) / (std or STATED["std"])
    return scaled.transpose(2, 0, 1)


def answer(path, picture, **stated):
    """What the encoder says of one picture, (D,)."""
    how = read_preprocess({**STATED, **stated})
    source = open_foreign(path, how, RuntimeConfig(threads=1))
    encoder = source.load()
    row = encoder.prepare(read_image(picture.path), picture)
    return encoder.run(np.stack([row] * source.batch))["embedding"][0]


@pytest.mark.parametrize("kind", ["nearest", "box", "bilinear", "bicubic", "lanczos"])
def test_pixels_are_squashed_and_normalised_as_stated(photo, tmp_path, kind):
    found = answer(small_foreign.flat(tmp_path / "x.onnx"), Picture(photo), interpolation=kind)
    expected = by_hand(Image.open(photo), (6, 8), Image.Resampling[kind.upper()])
    np.testing.assert_allclose(found, expected.reshape(-1), atol=1e-5)


def test_layout_colour_and_range_are_as_stated(photo, tmp_path):
    graph = small_foreign.flat(tmp_path / "x.onnx", (1, "h", "w", 3))
    found = answer(graph, Picture(photo), layout="NHWC", colour="BGR", top=255,
                   mean=[103.5, 116.3, 123.7], std=[57.4, 57.1, 58.4])  # fmt: skip
    small = np.asarray(Image.open(photo).resize((8, 6), Image.Resampling.BICUBIC), np.float64)
    expected = (small[..., ::-1] - [103.5, 116.3, 123.7]) / [57.4, 57.1, 58.4]
    np.testing.assert_allclose(found, expected.reshape(-1), atol=1e-4)


@pytest.mark.parametrize("turned", [False, True])
def test_the_shorter_side_is_brought_down_and_the_centre_cut_out(photo, tmp_path, turned):
    image = Image.open(photo)
    if turned:
        image = image.transpose(Image.Transpose.ROTATE_90)
        image.save(photo)
    graph = small_foreign.flat(tmp_path / "x.onnx")
    found = answer(graph, Picture(photo), resize="shorter", shorter_px=12)
    # 30 x 40 becomes 12 x 16, of which 8 x 6 is the middle
    small = image.resize((16, 12) if turned else (12, 16), Image.Resampling.BICUBIC)
    left, top = (4, 3) if turned else (2, 5)
    middle = np.asarray(small, np.float64)[top : top + 6, left : left + 8] / 255
    expected = ((middle - STATED["mean"]) / STATED["std"]).transpose(2, 0, 1)
    np.testing.assert_allclose(found, expected.reshape(-1), atol=1e-5)


@pytest.mark.parametrize("region", [OUTLINE, BOX])
@pytest.mark.parametrize("shown", ["mask", "box", "whole"])
def test_a_region_is_shown_as_stated(photo, tmp_path, region, shown):
    pixels = np.asarray(Image.open(photo)).copy()
    if shown == "mask" and region is OUTLINE:
        pixels[~OUTLINE.mask((40, 30), "")] = 128
    image = Image.fromarray(pixels)
    if shown != "whole":
        image = image.crop((4, 5, 25, 31))
    graph = small_foreign.flat(tmp_path / "x.onnx")
    found = answer(graph, Picture(photo, region), region=shown)
    np.testing.assert_allclose(found, by_hand(image, (6, 8)).reshape(-1), atol=1e-5)


def test_a_margin_widens_the_box_up_to_the_picture(photo, tmp_path):
    graph = small_foreign.flat(tmp_path / "x.onnx")
    found = answer(graph, Picture(photo, BOX), region="box", margin=0.25)
    image = Image.open(photo).crop((0, 0, 30, 37))  # 26 high: 6 more on each side
    np.testing.assert_allclose(found, by_hand(image, (6, 8)).reshape(-1), atol=1e-5)


def test_pooling_is_as_stated(photo, tmp_path):
    pixels = by_hand(Image.open(photo), (6, 8))
    rows = pixels.reshape(3, -1).T
    tokens = small_foreign.tokens(tmp_path / "tokens.onnx")
    maps = small_foreign.feature_map(tmp_path / "map.onnx")
    for graph, stated, expected in (
        (tokens, {"pooling": "cls"}, rows[0]),
        (tokens, {"pooling": "mean"}, rows.mean(axis=0)),
        (tokens, {"pooling": "mean", "skip": 5}, rows[5:].mean(axis=0)),
        (maps, {"pooling": "mean"}, rows.mean(axis=0)),
    ):
        np.testing.assert_allclose(answer(graph, Picture(photo), **stated), expected, atol=1e-5)
        found = answer(graph, Picture(photo), **stated, l2=True)
        np.testing.assert_allclose(found, expected / np.linalg.norm(expected), atol=1e-5)


def test_an_output_is_chosen_by_name(photo, tmp_path):
    graph = small_foreign.two_answers(tmp_path / "x.onnx")
    one = answer(graph, Picture(photo), output="out", input="pixels")
    np.testing.assert_allclose(answer(graph, Picture(photo), output="twice"), 2 * one, atol=1e-6)
    with pytest.raises(ArtifactError, match=r"'out', 'twice'.*State output=NAME"):
        answer(graph, Picture(photo))
    with pytest.raises(ArtifactError, match=r"'gone' is not there.*State output=NAME"):
        answer(graph, Picture(photo), output="gone")
    with pytest.raises(ArtifactError, match=r"'image' is not there.*State input=NAME"):
        answer(graph, Picture(photo), output="out", input="image")


def test_half_precision_is_fed_as_the_graph_wants_it(photo, tmp_path):
    graph = small_foreign.flat(tmp_path / "x.onnx", dtype=TensorProto.FLOAT16)
    found = answer(graph, Picture(photo))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, by_hand(Image.open(photo), (6, 8)).reshape(-1), atol=5e-3)


@pytest.mark.parametrize(
    ("shape", "stated"),
    [
        ((2, 3), {}),
        (("n", 3, 6), {}),
        (("n", 3, 8, 6), {}),
        (("n", 6, 8, 3), {}),
        (("n", 3, 6, 8), {"layout": "NHWC"}),
        (("n", 3, 6, 8), {"size": 7}),
        (("n", 1, 6, 8), {}),
    ],
)
def test_an_input_that_does_not_fit_says_what_to_state(photo, tmp_path, shape, stated):
    graph = small_foreign.flat(tmp_path / "x.onnx", shape)
    with pytest.raises(ArtifactError, match=r"x\.onnx: input 'pixels'.*State the layout and size"):
        answer(graph, Picture(photo), **stated)


def test_pixels_that_are_no_floats_are_refused(photo, tmp_path):
    graph = small_foreign.flat(tmp_path / "x.onnx", dtype=TensorProto.UINT8)
    with pytest.raises(ArtifactError, match="uint8"):
        answer(graph, Picture(photo))


@pytest.mark.parametrize(
    ("graph", "stated"),
    [
        (small_foreign.flat, {"pooling": "cls"}),
        (small_foreign.flat, {"pooling": "mean"}),
        (small_foreign.tokens, {"pooling": "none"}),
        (small_foreign.tokens, {"pooling": "mean", "skip": 48}),
        (small_foreign.feature_map, {"pooling": "none"}),
        (small_foreign.feature_map, {"pooling": "cls"}),
    ],
)
def test_an_answer_of_another_shape_says_what_to_state(photo, tmp_path, graph, stated):
    with pytest.raises(ArtifactError, match=r"'out' is \(.*State pooling"):
        answer(graph(tmp_path / "x.onnx"), Picture(photo), **stated)


def test_a_file_that_is_no_network_is_refused(photo, tmp_path):
    (tmp_path / "x.onnx").write_bytes(b"weights")
    with pytest.raises(ArtifactError, match=r"x\.onnx"):
        answer(tmp_path / "x.onnx", Picture(photo))
    with pytest.raises(ArtifactError, match=r"cannot read the encoder.*y\.onnx"):
        answer(tmp_path / "y.onnx", Picture(photo))
    with pytest.raises(RuntimeUnavailableError, match=r"runtime\.name"):
        open_foreign(small_foreign.flat(tmp_path / "x.onnx"), read_preprocess(STATED),
                     RuntimeConfig(name="torch"))  # fmt: skip


def test_weights_beside_the_graph_count(tmp_path):
    graph = small_foreign.flat(tmp_path / "x.onnx")
    how = read_preprocess(STATED)
    alone = open_foreign(graph, how, RuntimeConfig()).sha256
    (tmp_path / "x.onnx.data").write_bytes(b"1")
    first = open_foreign(graph, how, RuntimeConfig()).sha256
    (tmp_path / "x.onnx.data").write_bytes(b"2")
    assert len({alone, first, open_foreign(graph, how, RuntimeConfig()).sha256}) == 3


def test_a_statement_is_a_file_or_a_text(tmp_path):
    expected = read_preprocess(STATED)
    (tmp_path / "how.yaml").write_text(yaml.safe_dump(STATED))
    (tmp_path / "how.json").write_text(json.dumps(STATED))
    text = " ".join(f"{name}={json.dumps(value)}" for name, value in STATED.items())
    for statement in (tmp_path / "how.yaml", str(tmp_path / "how.json"), text.replace(", ", ",")):
        assert read_preprocess(statement) == expected
    assert read_preprocess(replace_size(224)).size == (224, 224)
    assert json.loads(expected.to_json())["std"] == STATED["std"]


def replace_size(size):
    return {**STATED, "size": size}


@pytest.mark.parametrize("name", sorted(STATED))
def test_what_is_not_stated_is_not_guessed(name):
    rest = {key: value for key, value in STATED.items() if key != name}
    with pytest.raises(ConfigError, match=rf"must state .*Missing: \['{name}'\]"):
        read_preprocess(rest)


@pytest.mark.parametrize(
    "wrong",
    [
        {"layout": "CHW"}, {"size": 0}, {"size": [3, 4, 5]}, {"size": "224"}, {"size": [6.0, 8]},
        {"mean": 0.5}, {"mean": [0.5, 0.5]}, {"mean": [0.5, 0.5, float("nan")]},
        {"std": [0.5, 0.5, 0]}, {"std": ["a", 1, 1]}, {"interpolation": "area"},
        {"resize": "pad"}, {"colour": "rgb"}, {"pooling": "max"}, {"l2": 1}, {"top": 256},
        {"skip": -1}, {"region": "outline"}, {"margin": -0.1}, {"shorter_px": 7},
    ],
)  # fmt: skip
def test_a_wrong_statement_names_its_key(wrong):
    with pytest.raises(ConfigError, match=f"preprocessing: {next(iter(wrong))} must be"):
        read_preprocess({**STATED, **wrong})


def test_an_unknown_key_and_unreadable_files_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"unknown: \['normalise'\]"):
        read_preprocess({**STATED, "normalise": True})
    (tmp_path / "list.yaml").write_text("[1, 2]")
    (tmp_path / "torn.json").write_text('{"size": ')
    for statement in (tmp_path / "list.yaml", tmp_path / "torn.json", tmp_path / "gone.yaml"):
        with pytest.raises(ConfigError, match=statement.name):
            read_preprocess(statement)


@pytest.fixture(scope="module")
def picks(tmp_path_factory):
    return small_sets.write_picks(tmp_path_factory.mktemp("picks"))


def test_a_split_is_embedded_by_an_encoder_of_others(picks, tmp_path):
    graph = small_foreign.flat(tmp_path / "x.onnx")
    options = {"encoder": str(graph), "encoder_preprocess": {**STATED, "l2": True}}
    request = Request(picks, tmp_path / "no-models", work=tmp_path, options=options)
    embedded = embed_split(request)
    assert set(embedded.queries) == set(small_sets.VIEWS) and embedded.scale == float("inf")
    assert list(embedded.networks) == ["x.onnx"]
    assert "bicubic" in embedded.preparation and "squash" in embedded.preparation
    for item, rows in embedded.gallery.items():
        assert rows.shape == (2, 144)
        for number, row in enumerate(rows, 1):
            path = picks / "Reference_Images" / item / f"{number}.jpg"
            expected = by_hand(Image.fromarray(read_image(path)), (6, 8)).reshape(-1)
            np.testing.assert_allclose(row, expected / np.linalg.norm(expected), atol=1e-5)
    # another statement is another encoder, also where its answers are kept
    options = {**options, "encoder_preprocess": {**STATED, "l2": True, "interpolation": "box"}}
    other = embed_split(replace(request, options=options))
    assert all((other.gallery[item] != rows).any() for item, rows in embedded.gallery.items())


def test_an_encoder_that_answers_nan_is_refused(picks, tmp_path):
    graph = small_foreign.root(tmp_path / "x.onnx")
    options = {"encoder": str(graph), "encoder_preprocess": STATED}
    with pytest.raises(ArtifactError, match=r"NaN or infinity for .*jpg.*preprocessing"):
        embed_split(Request(picks, tmp_path, config=Config(), options=options))


def test_an_encoder_needs_its_preprocessing_and_the_other_way_round(picks, tmp_path):
    graph = str(small_foreign.flat(tmp_path / "x.onnx"))
    with pytest.raises(ConfigError, match="must state"):
        embed_split(Request(picks, tmp_path, options={"encoder": graph}))
    with pytest.raises(ConfigError, match="--encoder"):
        embed_split(Request(picks, tmp_path, options={"encoder_preprocess": STATED}))

# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Images from outside are refused when broken, and crops are what they say."""

import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from robollm_core.errors import ConfigError, ImageError, ShapeError
from robollm_core.geometry import Letterbox
from robollm_core.images import (
    GREY,
    CropSpec,
    crop,
    crop_whole,
    decode_image,
    encode_jpeg,
    from_ros_image,
    letterbox,
    read_image,
)


@pytest.fixture(scope="module")
def noise():
    return np.random.default_rng(0).integers(0, 256, (20, 26, 3), np.uint8)


def encoded(image, suffix, *options):
    done, data = cv2.imencode(suffix, image[..., ::-1], list(options))
    assert done
    return data.tobytes()


KINDS = [
    (".jpg", cv2.IMWRITE_JPEG_QUALITY, 90),
    (".jpg", cv2.IMWRITE_JPEG_PROGRESSIVE, 1),
    (".jpg", cv2.IMWRITE_JPEG_RST_INTERVAL, 2),
    (".png", cv2.IMWRITE_PNG_COMPRESSION, 3),
]


def test_png_decodes_exactly(noise):
    np.testing.assert_array_equal(decode_image(encoded(noise, ".png"), "x"), noise)


def test_jpeg_round_trip_keeps_the_order_of_the_channels():
    red = np.zeros((16, 16, 3), np.uint8)
    red[..., 0] = 255
    back = decode_image(encode_jpeg(red, 95), "x")
    assert back[..., 0].min() > 240
    assert back[..., 1:].max() < 15


@pytest.mark.parametrize("kind", KINDS)
def test_every_truncation_is_refused(noise, kind):
    data = encoded(noise, *kind)
    decode_image(data, "whole")
    for length in range(len(data)):
        with pytest.raises(ImageError):
            decode_image(data[:length], "part")


def test_bytes_after_the_end_do_no_harm(noise):
    decode_image(encoded(noise, ".jpg") + bytes(64), "padded")


@pytest.mark.parametrize(
    "data", [b"", b"\0" * 50, b"GIF89a", b"\xff\xd8\xff\xd9", b"\x89PNG\r\n\x1a\n"]
)
def test_garbage_is_refused_by_name(data):
    with pytest.raises(ImageError, match="cam7"):
        decode_image(data, "cam7")


@settings(max_examples=200)
@given(st.binary(max_size=60), st.sampled_from([b"\xff\xd8", b"\x89PNG\r\n\x1a\n", b""]))
def test_random_bytes_never_crash(tail, head):
    try:
        image = decode_image(head + tail, "x")
    except ImageError:
        return
    assert image.ndim == 3  # an image can be drawn by chance, no other outcome


def test_grey_and_sixteen_bit_files_become_rgb(noise):
    assert decode_image(encoded(noise[..., :1], ".png"), "grey").shape == noise.shape
    done, data = cv2.imencode(".png", noise.astype(np.uint16) * 257)
    assert done
    assert decode_image(data.tobytes(), "deep").dtype == np.uint8


def test_read_image_names_a_missing_file(tmp_path):
    with pytest.raises(ImageError, match="nothing.jpg"):
        read_image(tmp_path / "nothing.jpg")


ENCODINGS = {
    "rgb8": lambda rgb: rgb,
    "bgr8": lambda rgb: rgb[..., ::-1],
    "rgba8": lambda rgb: np.dstack([rgb, rgb[..., 0]]),
    "bgra8": lambda rgb: np.dstack([rgb[..., ::-1], rgb[..., 0]]),
}


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("padding", [0, 5])
def test_ros_images_honour_encoding_and_step(noise, encoding, padding):
    height, width = noise.shape[:2]
    rows = ENCODINGS[encoding](noise).reshape(height, -1)
    rows = np.pad(rows, ((0, 0), (0, padding)), constant_values=7)
    for data in (rows.tobytes(), rows.reshape(-1), memoryview(rows.tobytes())):
        got = from_ros_image(height, width, encoding, rows.shape[1], 0, data)
        np.testing.assert_array_equal(got, noise)
        assert got.flags.c_contiguous


def test_mono_becomes_three_equal_channels():
    got = from_ros_image(2, 2, "mono8", 3, 0, bytes([1, 2, 0, 3, 4, 0]))
    np.testing.assert_array_equal(got[..., 0], [[1, 2], [3, 4]])
    np.testing.assert_array_equal(got[..., 0], got[..., 2])


@pytest.mark.parametrize(
    "height, width, encoding, step, size, told",
    [
        (4, 4, "bayer_rggb8", 4, 16, "bayer_rggb8"),
        (4, 4, "RGB8", 12, 48, "RGB8"),
        (0, 4, "rgb8", 12, 0, "empty"),
        (4, 0, "rgb8", 0, 0, "empty"),
        (4, 4, "rgb8", 11, 44, "step"),
        (4, 4, "rgb8", 12, 47, "47 bytes"),
        (4, 4, "rgb8", 12, 49, "49 bytes"),
        (4, 4, "rgb8", 2**31, 48, "step"),
    ],
)
def test_ros_images_that_disagree_with_themselves(height, width, encoding, step, size, told):
    with pytest.raises(ImageError, match=told):
        from_ros_image(height, width, encoding, step, 0, bytes(size))


BOXES = st.tuples(
    st.integers(-20, 60), st.integers(-20, 60), st.integers(1, 50), st.integers(1, 50)
).map(lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3]))
SPECS = st.builds(
    CropSpec,
    size_px=st.sampled_from([1, 8, 33]),
    mode=st.sampled_from(["squash", "pad"]),
    blank=st.booleans(),
    margin=st.sampled_from([0.0, 0.05, 0.5]),
)


@given(BOXES, SPECS)
def test_crops_are_square_and_leave_the_image_alone(box, spec):
    image = np.random.default_rng(1).integers(0, 256, (40, 52, 3), np.uint8)
    before = image.copy()
    got = crop(image, box, spec)
    assert got.shape == (spec.size_px, spec.size_px, 3)
    assert got.dtype == np.uint8
    np.testing.assert_array_equal(image, before)


@given(SPECS)
def test_crop_spec_survives_json(spec):
    assert CropSpec.from_json(spec.to_json()) == spec


@given(st.integers(1, 30), st.integers(1, 30))
def test_a_crop_of_its_own_size_is_the_image_cut(x0, y0):
    image = np.random.default_rng(2).integers(0, 256, (64, 64, 3), np.uint8)
    spec = CropSpec(size_px=20, mode="squash", blank=False)
    got = crop(image, (x0, y0, x0 + 20, y0 + 20), spec)
    np.testing.assert_array_equal(got, image[y0 : y0 + 20, x0 : x0 + 20])


def test_pad_centres_the_box_and_squash_fills():
    image = np.zeros((40, 40, 3), np.uint8)
    image[10:30, 15:25] = 255  # 20 high, 10 wide
    box = (15, 10, 25, 30)
    padded = crop(image, box, CropSpec(20, "pad", blank=True))
    np.testing.assert_array_equal(padded[:, 5:15], 255)
    np.testing.assert_array_equal(padded[:, :5], GREY)
    np.testing.assert_array_equal(padded[:, 15:], GREY)
    context = crop(image, box, CropSpec(20, "pad", blank=False))
    np.testing.assert_array_equal(context[:, :5], 0)
    np.testing.assert_array_equal(crop(image, box, CropSpec(20, "squash")), 255)


def test_blank_greys_what_is_outside_the_mask_and_margin_adds_border():
    image = np.full((40, 40, 3), 200, np.uint8)
    mask = np.zeros((10, 10), bool)
    mask[2:8, 3:7] = True
    got = crop(image, (10, 10, 20, 20), CropSpec(10, "pad", blank=True), mask)
    np.testing.assert_array_equal(got[mask], 200)
    np.testing.assert_array_equal(got[~mask], GREY)
    wide = crop(image, (10, 10, 20, 20), CropSpec(12, "pad", blank=True, margin=0.1))
    np.testing.assert_array_equal(wide[1:-1, 1:-1], 200)
    assert (wide[0] == GREY).all()


def test_outside_of_the_image_is_grey():
    image = np.full((8, 8, 3), 10, np.uint8)
    got = crop(image, (-4, 0, 4, 8), CropSpec(8, "squash", blank=False))
    np.testing.assert_array_equal(got[:, :4], GREY)
    np.testing.assert_array_equal(got[:, 4:], 10)


@pytest.mark.parametrize("box", [(5, 5, 5, 9), (9, 5, 5, 9)])
def test_empty_boxes_are_refused(noise, box):
    with pytest.raises(ShapeError, match="empty box"):
        crop(noise, box, CropSpec(8))


def test_a_mask_of_another_size_is_refused(noise):
    with pytest.raises(ShapeError, match=r"\(4, 4\)"):
        crop(noise, (1, 1, 5, 5), CropSpec(8), np.ones((3, 4), bool))


def test_whole_references_ignore_margin_and_blank():
    image = np.full((20, 10, 3), 77, np.uint8)
    got = crop_whole(image, CropSpec(20, "pad", blank=True, margin=0.5))
    np.testing.assert_array_equal(got[:, 5:15], 77)
    np.testing.assert_array_equal(got[:, :5], GREY)


@pytest.mark.parametrize(
    "tree",
    [
        {},
        {"size_px": 0},
        {"size_px": 8, "mode": "stretch"},
        {"size_px": 8, "margin": -0.1},
        {"size_px": 8, "blank": "yes"},
        {"size_px": 8, "colour": 1},
        {"size_px": True},
        {"size_px": 8, "margin": "wide"},
    ],
)
def test_wrong_crop_specs_are_refused(tree):
    with pytest.raises(ConfigError):
        CropSpec.from_json(tree)


def test_letterbox_places_top_left_and_pads_with_zero():
    image = np.full((20, 40, 3), 200, np.uint8)
    got = letterbox(image, Letterbox((20, 40), (32, 32)))
    assert got.shape == (32, 32, 3)
    np.testing.assert_array_equal(got[:16], 200)
    np.testing.assert_array_equal(got[16:], 0)


def twice(array):
    return array.repeat(2, axis=0).repeat(2, axis=1)


@pytest.mark.parametrize("mode", ["squash", "pad"])
@pytest.mark.parametrize("times", [1, 2])
def test_an_image_in_larger_pixels_gives_the_same_crop(noise, mode, times):
    spec = CropSpec(8, mode, margin=0.25)
    mask = np.random.default_rng(3).random((12, 16)) < 0.6
    box, image = (3, 4, 19, 16), noise
    expected = crop(image, box, spec, mask)
    for _ in range(times):
        image, mask, box = twice(image), twice(mask), tuple(2 * edge for edge in box)
    np.testing.assert_array_equal(crop(image, box, spec, mask), expected)


def test_an_image_in_larger_pixels_is_letterboxed_the_same(noise):
    expected = letterbox(noise, Letterbox(noise.shape[:2], (16, 20)))
    large = twice(twice(noise))
    got = letterbox(large, Letterbox(large.shape[:2], (16, 20)))
    np.testing.assert_array_equal(got, expected)


@given(st.integers(8, 120), st.integers(8, 120), st.sampled_from(["squash", "pad"]))
def test_a_crop_is_not_shifted_however_large_its_window(wide, high, mode):
    x, y = np.meshgrid(np.arange(130), np.arange(130))
    image = np.stack([x, y, x], axis=2).astype(np.uint8)
    got = crop(image, (4, 6, 4 + wide, 6 + high), CropSpec(8, mode, blank=False)).astype(float)
    side = max(wide, high)
    left, across = (4 - (side - wide) // 2, side) if mode == "pad" else (4, wide)
    # where the middle of a pixel lies in the image; a ramp is its own area average
    middle = left + (np.arange(8) + 0.5) * across / 8 - 0.5
    seen = (middle > across / 8) & (middle < 129 - across / 8)
    # a window that is widened to be halved moves its far edge by less than a pixel of the crop
    assert np.abs(got[4, :, 0] - middle)[seen].max(initial=0) <= 1 + across / 8
    assert np.abs(got[4, :, 0] - middle)[:1][seen[:1]].max(initial=0) <= 1 + across / 64


@pytest.mark.parametrize("kind", [".png", ".jpg"])
def test_a_small_file_cannot_claim_gigabytes_of_pixels(kind):
    """As a hostile sender would: the header of a sound image says another size."""
    data = bytearray(cv2.imencode(kind, np.zeros((16, 24, 3), np.uint8))[1].tobytes())
    if kind == ".png":
        data[16:24] = (30_000).to_bytes(4, "big") * 2
        data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    else:
        at = data.index(b"\xff\xc0")
        data[at + 5 : at + 9] = (30_000).to_bytes(2, "big") * 2
    with pytest.raises(ImageError, match="900000000 pixels; at most"):
        decode_image(bytes(data), "the photo")

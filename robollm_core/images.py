# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Images from outside, and the crops the networks see.

Training and the running cell share `crop`, so that a network never meets a
crop it was not trained on.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from robollm_core.errors import ConfigError, ImageError, ShapeError
from robollm_core.geometry import Box, Letterbox, halved, halvings
from robollm_core.image_headers import jpeg_is_whole, jpeg_pixels, png_is_whole, png_pixels
from robollm_core.types import BoolArray, Float32Array, UInt8Array

GREY = 128
"""What a network sees where there is nothing to see; 0 after normalisation."""

MAX_PIXELS = 100_000_000
"""The largest image that is decoded: 300 MB of pixels."""

CUT = 2
"""Counts the ways in which `crop` has cut; what was kept of crops belongs to one of them."""

_MODES = ("squash", "pad")
_CHANNELS = {"rgb8": 3, "bgr8": 3, "rgba8": 4, "bgra8": 4, "mono8": 1}
_TO_RGB = {
    "bgr8": cv2.COLOR_BGR2RGB,
    "rgba8": cv2.COLOR_RGBA2RGB,
    "bgra8": cv2.COLOR_BGRA2RGB,
    "mono8": cv2.COLOR_GRAY2RGB,
}


@dataclass(frozen=True, slots=True)
class CropSpec:
    """How an instance is cut out for a network; stored in the artifact's sidecar.

    Attributes:
        size_px: edge of the square crop.
        mode: "squash" resizes the box to the square, "pad" first widens the
            shorter side so that the aspect ratio stays.
        blank: pixels outside the mask become `GREY`.
        margin: each side of the box is moved out by this fraction of its
            longer side.
    """

    size_px: int
    mode: str = "pad"
    blank: bool = True
    margin: float = 0.0

    def __post_init__(self) -> None:
        """Refuse values no crop can have.

        Raises:
            ConfigError: If a value is of the wrong type or out of range.
        """
        sizes = type(self.size_px) is int and 1 <= self.size_px <= 4096
        margins = isinstance(self.margin, int | float) and 0.0 <= self.margin <= 2.0
        if not (sizes and margins and self.mode in _MODES and isinstance(self.blank, bool)):
            raise ConfigError(
                "a crop needs size_px in 1..4096, mode squash or pad, a bool blank and margin "
                f"in 0..2, got {self}."
            )

    def to_json(self) -> dict[str, Any]:
        """The spec as a JSON object."""
        return asdict(self)

    @classmethod
    def from_json(cls, tree: Mapping[str, Any]) -> "CropSpec":
        """Read what `to_json` wrote.

        Raises:
            ConfigError: If a key is missing, unknown or of a wrong value.
        """
        try:
            return cls(**tree)
        except TypeError as error:
            raise ConfigError(f"a crop has size_px, mode, blank, margin, got {tree!r}.") from error


def crop(
    image_rgb: UInt8Array,
    box_xyxy_px: Sequence[float],
    spec: CropSpec,
    mask_in_box: BoolArray | None = None,
) -> UInt8Array:
    """Cut one instance out of its image.

    Args:
        image_rgb: (H, W, 3) uint8.
        box_xyxy_px: pixel edges; fractions are widened to whole pixels.
        spec: how to cut.
        mask_in_box: (y1 - y0, x1 - x0) bool; without one the box counts as the mask.

    Returns:
        (S, S, 3) uint8; what lies outside the image is `GREY`.

    Raises:
        ShapeError: If the box is empty or the mask does not fill it.
    """
    x0, y0 = (math.floor(edge) for edge in box_xyxy_px[:2])
    x1, y1 = (math.ceil(edge) for edge in box_xyxy_px[2:])
    if x1 <= x0 or y1 <= y0:
        raise ShapeError(f"cannot crop the empty box {tuple(box_xyxy_px)}.")
    if mask_in_box is not None and mask_in_box.shape != (y1 - y0, x1 - x0):
        raise ShapeError(
            f"a mask for the box {(x0, y0, x1, y1)} must be {(y1 - y0, x1 - x0)}, "
            f"got {mask_in_box.shape}."
        )
    window, times = _window((x0, y0, x1, y1), spec)
    part, mask = ((x0, y0, x1, y1), mask_in_box) if spec.blank else (window, None)
    pixels = _cut(image_rgb, window, part, mask, times)
    return _resize(pixels, (spec.size_px, spec.size_px), enlarge=cv2.INTER_CUBIC)


def crop_whole(image_rgb: UInt8Array, spec: CropSpec) -> UInt8Array:
    """Bring a whole reference image to the crop size; the photo brings its own margin.

    Args:
        image_rgb: (H, W, 3) uint8.
        spec: how to cut; `blank` and `margin` do not apply.

    Returns:
        (S, S, 3) uint8.
    """
    height, width = image_rgb.shape[:2]
    whole = CropSpec(spec.size_px, spec.mode, blank=False, margin=0.0)
    return crop(image_rgb, (0, 0, width, height), whole)


def letterbox(image_rgb: UInt8Array, box: Letterbox) -> UInt8Array:
    """Bring an image to a network's input size.

    Args:
        image_rgb: (H, W, 3) uint8 of size `box.source_hw`.
        box: where the pixels go.

    Returns:
        `box.target_hw` + (3,) uint8, padded with 0 to the right and below.
    """
    target, (high, wide) = np.zeros((*box.target_hw, 3), np.uint8), box.inner_hw
    smaller = halved(image_rgb, halvings(box.source_hw, (high, wide)))
    target[:high, :wide] = _resize(smaller, (high, wide), enlarge=cv2.INTER_LINEAR)
    return target


def _window(box: Box, spec: CropSpec) -> tuple[Box, int]:
    """What a crop shows, and how often it is halved on the way."""
    x0, y0, x1, y1 = box
    grow = round(spec.margin * max(x1 - x0, y1 - y0))
    x0, y0, x1, y1 = x0 - grow, y0 - grow, x1 + grow, y1 + grow
    if spec.mode == "pad":
        side = max(x1 - x0, y1 - y0)
        x0 -= (side - (x1 - x0)) // 2
        y0 -= (side - (y1 - y0)) // 2
        x1, y1 = x0 + side, y0 + side
    # sides that can be halved; what is added is less than a pixel of the crop
    times = halvings((y1 - y0, x1 - x0), (spec.size_px, spec.size_px))
    return (x0, y0, x1 + (x0 - x1) % 2**times, y1 + (y0 - y1) % 2**times), times


def _cut(
    image_rgb: UInt8Array, window: Box, part: Box, mask: BoolArray | None, times: int
) -> UInt8Array:
    """A window of an image, halved; `GREY` outside the image, a part of it, or the part's mask."""
    height, width = image_rgb.shape[:2]
    step, (x0, y0, x1, y1) = 2**times, window
    pixels: UInt8Array = np.full(((y1 - y0) // step, (x1 - x0) // step, 3), GREY, dtype=np.uint8)
    left, top = max(part[0], 0), max(part[1], 0)
    right, bottom = min(part[2], width), min(part[3], height)
    if right <= left or bottom <= top:
        return pixels
    # the rest is grey also when it is halved
    a, b = (left - x0) // step, (top - y0) // step
    c, d = -((x0 - right) // step), -((y0 - bottom) // step)
    piece = np.full(((d - b) * step, (c - a) * step, 3), GREY, dtype=np.uint8)
    at_x, at_y = left - x0 - a * step, top - y0 - b * step
    target = piece[at_y : at_y + bottom - top, at_x : at_x + right - left]
    if mask is None:
        target[...] = image_rgb[top:bottom, left:right]
    else:
        shown = mask[top - part[1] : bottom - part[1], left - part[0] : right - part[0]]
        cv2.copyTo(image_rgb[top:bottom, left:right], shown.view(np.uint8), target)
    pixels[b:d, a:c] = halved(piece, times)
    return pixels


def _resize(image: UInt8Array, size_hw: tuple[int, int], *, enlarge: int) -> UInt8Array:
    height, width = image.shape[:2]
    if (height, width) == size_hw:
        return image
    # area averaging is the only filter of OpenCV that does not alias when shrinking
    shrinks = size_hw[0] * size_hw[1] <= height * width
    if shrinks and all(b <= a < 2 * b for a, b in zip((height, width), size_hw, strict=True)):
        return _averaged(image, size_hw)
    how = cv2.INTER_AREA if shrinks else enlarge
    return cv2.resize(image, size_hw[::-1], interpolation=how)  # type: ignore[return-value]


def _averaged(image: UInt8Array, size_hw: tuple[int, int]) -> UInt8Array:
    """What INTER_AREA gives, to the bit, in less than half of its time."""
    # here, so that what cuts nothing starts without Numba
    from robollm_core.kernels import shrink

    out: UInt8Array = np.empty((*size_hw, 3), np.uint8)
    rows, columns = (_shares(a, b) for a, b in zip(image.shape, size_hw, strict=False))
    shrink(np.ascontiguousarray(image), *columns, *rows, out)
    return out


@lru_cache(maxsize=4096)
def _shares(source: int, target: int) -> tuple[npt.NDArray[np.uint32], Float32Array]:
    """Which pixels each pixel of a shorter axis is made of, and how much of each.

    Args:
        source: pixels before, at least `target` and less than twice as many.
        target: pixels after.

    Returns:
        (3, target) uint32 and (3, target) float32; what a pixel does not need has share 0.

    Source:
        OpenCV, the table of INTER_AREA (modules/imgproc/src/resize.cpp): parts of a pixel
        below a thousandth are left out.
    """
    scale = source / target
    low = np.arange(target) * scale
    high = low + scale
    cell = np.minimum(scale, source - low)
    stop = np.minimum(np.floor(high), source - 1)
    start = np.minimum(np.ceil(low), stop)
    parts = [  # pixel, share: the piece before, the whole one, the piece behind
        (start - 1, np.where(start - low > 1e-3, (start - low) / cell, 0.0)),
        (start, np.where(stop > start, 1.0 / cell, 0.0)),
        (
            stop,
            np.where(
                high - stop > 1e-3, np.minimum(np.minimum(high - stop, 1.0), cell) / cell, 0.0
            ),
        ),
    ]
    pixels = np.stack([np.maximum(pixel, 0) for pixel, _ in parts]).astype(np.uint32)
    return pixels, np.stack([share for _, share in parts]).astype(np.float32)


def read_image(path: Path | str) -> UInt8Array:
    """Read a JPEG or PNG file.

    Returns:
        (H, W, 3) uint8 RGB, pixels as stored (an EXIF rotation is not applied).

    Raises:
        ImageError: If the file cannot be read or is not a whole image.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as error:
        raise ImageError(f"cannot read the image {path}: {error}") from error
    return decode_image(data, str(path))


def decode_image(data: bytes, source: str) -> UInt8Array:
    """Decode a JPEG or PNG, refusing what is cut short.

    Args:
        data: the whole file.
        source: name for error messages.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ImageError: If the data is empty, of another format, truncated or broken.
    """
    if not data:
        raise ImageError(f"{source} is empty; expected a JPEG or PNG image.")
    if data.startswith(b"\xff\xd8"):
        whole, pixels = jpeg_is_whole(data), jpeg_pixels(data)
    elif data.startswith(b"\x89PNG\r\n\x1a\n"):
        whole, pixels = png_is_whole(data), png_pixels(data)
    else:
        raise ImageError(f"{source} is neither JPEG nor PNG (starts with {data[:8]!r}).")
    # OpenCV fills what is missing with grey and goes on, hence the look at the bytes
    if not whole:
        raise ImageError(f"{source} is truncated after {len(data)} bytes. Send the whole image.")
    # a file of some kilobytes may claim gigabytes of pixels
    if pixels > MAX_PIXELS:
        raise ImageError(f"{source} has {pixels} pixels; at most {MAX_PIXELS} are decoded.")
    try:
        flags = cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION
        decoded = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), flags)
    except cv2.error as error:
        raise ImageError(f"{source} cannot be decoded: {error}") from error
    if decoded is None or decoded.size == 0:
        raise ImageError(f"{source} cannot be decoded; the image data is broken.")
    return cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB)  # type: ignore[return-value]


def from_ros_image(
    height: int,
    width: int,
    encoding: str,
    step: int,
    is_bigendian: int,
    data: bytes | bytearray | memoryview | UInt8Array,
) -> UInt8Array:
    """Read the pixels of a sensor_msgs/Image.

    Args:
        height: rows.
        width: columns.
        encoding: rgb8, bgr8, rgba8, bgra8 or mono8.
        step: bytes a row, padding included.
        is_bigendian: as in the message; single bytes have no order, so both do.
        data: step * height bytes.

    Returns:
        (H, W, 3) uint8 RGB, contiguous; may share memory with `data`.

    Raises:
        ImageError: If the encoding is not supported, the image is empty, or
            width, step and the amount of data disagree.
    """
    del is_bigendian
    channels = _CHANNELS.get(encoding)
    if channels is None:
        raise ImageError(
            f"image encoding must be one of {', '.join(_CHANNELS)}, got {encoding!r}. "
            "Convert the image in the camera driver."
        )
    if height < 1 or width < 1:
        raise ImageError(f"the image is empty: {width} x {height} pixels.")
    flat = np.frombuffer(data, dtype=np.uint8)
    if step < width * channels or flat.size != step * height:
        raise ImageError(
            f"an {encoding} image of {width} x {height} needs a step of at least "
            f"{width * channels} and step x height bytes, got step {step} and {flat.size} bytes."
        )
    rows = flat.reshape(height, step)[:, : width * channels]
    pixels = rows.reshape(height, width, channels)
    if encoding == "rgb8":
        return np.ascontiguousarray(pixels)
    return cv2.cvtColor(np.ascontiguousarray(pixels), _TO_RGB[encoding])  # type: ignore[return-value]


def encode_jpeg(image_rgb: UInt8Array, quality: int = 90) -> bytes:
    """Encode an (H, W, 3) uint8 RGB image.

    Raises:
        ImageError: If OpenCV refuses the image.
    """
    bgr = cv2.cvtColor(image_rgb, cv2.COLOR_RGB2BGR)
    done, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    if not done:
        raise ImageError(f"cannot encode an image of {image_rgb.shape} as JPEG.")
    return data.tobytes()

# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Random changes to crops: one warp, one colour matrix, then small damage.

Built to be cheap: the warp does rotation, scale, shift and the random crop in
one pass, and all colour changes are one 3x4 matrix, so a 128 px crop costs a
fraction of a millisecond.
"""

import math
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from robollm_core.types import Float32Array, UInt8Array

GREY = 128
"""What lies outside an image or a mask; the same as in `images.crop`."""

Pixels = npt.NDArray[np.integer[Any] | np.floating[Any]]  # what cv2's stubs speak of
Matrix = npt.NDArray[np.float64]

_LUMA = np.array([0.299, 0.587, 0.114])


@dataclass(frozen=True, slots=True)
class Strength:
    """How far the changes may go.

    Attributes:
        turn: chance of a free rotation, else 0 to 15 degrees either way; totes
            hold things at any angle, catalogues do not.
        zoom: scale varies by this factor either way, 1 for none.
        shift: shift as a fraction of the edge.
        shear: difference between the two axes and skew, a fraction.
        colour: brightness, contrast, saturation and white balance, a fraction.
        damage: chance of each of blur, low resolution, noise and JPEG.
        cutout: chance of a grey rectangle (something lies on top).
    """

    turn: float
    zoom: float
    shift: float
    shear: float
    colour: float
    damage: float
    cutout: float

    def scaled(self, factor: float) -> "Strength":
        """All changes but the rotation reduced by a factor of 0 to 1."""
        return Strength(
            turn=self.turn,
            zoom=1.0 + (self.zoom - 1.0) * factor,
            shift=self.shift * factor,
            shear=self.shear * factor,
            colour=self.colour * factor,
            damage=self.damage * factor,
            cutout=self.cutout * factor,
        )


PICK = Strength(turn=0.8, zoom=1.3, shift=0.06, shear=0.12, colour=0.35, damage=0.25, cutout=0.35)
REFERENCE = Strength(
    turn=0.3, zoom=1.15, shift=0.04, shear=0.05, colour=0.15, damage=0.1, cutout=0.05
)


@dataclass(frozen=True, slots=True, eq=False)
class Disguise:
    """One change for all pictures of an item, which makes it another item.

    Swapped colour channels and a mirrored print turn a product into one that
    does not exist, and that looks alike: more items to tell apart, for nothing.

    Attributes:
        colour: (3, 3) float64 matrix on RGB about mid grey, or the identity.
        mirror: left and right swapped.
    """

    colour: Matrix
    mirror: bool


NO_DISGUISE = Disguise(np.eye(3), mirror=False)


def draw_disguise(rng: np.random.Generator) -> Disguise:
    """Draw a hue rotation about the grey axis, maybe a channel swap, maybe a mirror."""
    turn = _hue_rotation(rng.uniform(0.15, 0.85) * 2.0 * math.pi)
    swap = np.eye(3)[rng.permutation(3)] if rng.random() < 0.5 else np.eye(3)
    return Disguise(turn @ swap, mirror=bool(rng.random() < 0.5))


def _hue_rotation(angle: float) -> Matrix:
    # rotation about (1, 1, 1): Rodrigues' formula
    axis = np.full(3, 1.0 / math.sqrt(3.0))
    cross = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    turn: Matrix = np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * cross @ cross
    return turn


def augment(
    crop: UInt8Array,
    size_px: int,
    strength: Strength,
    rng: np.random.Generator,
    disguise: Disguise = NO_DISGUISE,
) -> UInt8Array:
    """Change a crop at random.

    Args:
        crop: (C, C, 3) uint8 from the cache.
        size_px: edge S of the result; the undisturbed crop fills it.
        strength: how far to go.
        rng: where chance comes from.
        disguise: what is common to all pictures of the item.

    Returns:
        (S, S, 3) uint8.
    """
    warp = draw_warp(crop.shape[0], size_px, strength, rng, mirror=disguise.mirror)
    pixels: Pixels = cv2.warpAffine(
        crop, warp, (size_px, size_px), flags=cv2.INTER_LINEAR, borderValue=(GREY, GREY, GREY)
    )
    pixels = cv2.transform(pixels, _colour_matrix(strength.colour, rng, disguise))
    result = np.asarray(_damage(pixels, strength.damage, rng), dtype=np.uint8)
    if rng.random() < strength.cutout:
        _cut_out(result, rng)
    return result


def centre(crop: UInt8Array, size_px: int) -> UInt8Array:
    """The crop at the network's size, unchanged otherwise."""
    if crop.shape[0] == size_px:
        return crop
    how = cv2.INTER_AREA if crop.shape[0] > size_px else cv2.INTER_CUBIC
    return cv2.resize(crop, (size_px, size_px), interpolation=how)  # type: ignore[return-value]


def draw_warp(
    source_px: int, size_px: int, strength: Strength, rng: np.random.Generator, *, mirror: bool
) -> Matrix:
    """Draw the affine map from crop pixels to result pixels, (2, 3) float64."""
    angle = rng.uniform(-math.pi / 12, math.pi / 12)
    if rng.random() < strength.turn:
        quarter = rng.integers(4) * math.pi / 2
        angle = quarter + angle if rng.random() < 0.5 else rng.uniform(0, 2 * math.pi)
    zoom = math.exp(rng.uniform(-1.0, 1.0) * math.log(strength.zoom)) * size_px / source_px
    stretch, skew = rng.uniform(-strength.shear, strength.shear, size=2)
    shape = np.array([[1.0 + stretch / 2, skew], [0.0, 1.0 - stretch / 2]])
    if mirror:
        shape = shape @ np.diag([-1.0, 1.0])
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    linear = zoom * turn @ shape
    # pixel centres: index i lies at i + 0.5
    shift = size_px * (0.5 + rng.uniform(-strength.shift, strength.shift, size=2))
    offset = shift - 0.5 - linear @ np.full(2, (source_px - 1) / 2)
    return np.concatenate((linear, offset[:, None]), axis=1)


def _colour_matrix(amount: float, rng: np.random.Generator, disguise: Disguise) -> Float32Array:
    bright, contrast, saturation = rng.uniform(-amount, amount, size=3)
    balance = 1.0 + rng.uniform(-0.3, 0.3, size=3) * amount
    grey = np.tile(_LUMA, (3, 1))
    keep = 1.0 + saturation
    matrix = (keep * np.eye(3) + (1.0 - keep) * grey) * (1.0 + contrast)
    matrix = np.diag(balance) @ matrix @ disguise.colour
    # contrast and disguise turn about mid grey, then the brightness moves it
    offset = GREY - matrix.sum(axis=1) * GREY + GREY * bright
    out: Float32Array = np.concatenate((matrix, offset[:, None]), axis=1).astype(np.float32)
    return out


def _damage(pixels: Pixels, chance: float, rng: np.random.Generator) -> Pixels:
    dice = rng.random(4)
    size = pixels.shape[0]
    if dice[0] < chance:
        pixels = cv2.GaussianBlur(pixels, (0, 0), rng.uniform(0.4, 1.4))
    if dice[1] < chance:
        small = round(size * rng.uniform(0.35, 0.8))
        pixels = cv2.resize(pixels, (small, small), interpolation=cv2.INTER_AREA)
        pixels = cv2.resize(pixels, (size, size), interpolation=cv2.INTER_LINEAR)
    if dice[2] < chance:
        noise = np.empty(pixels.shape, dtype=np.int16)
        cv2.setRNGSeed(int(rng.integers(2**31 - 1)))
        cv2.randn(noise, np.zeros(3), np.full(3, rng.uniform(2.0, 10.0)))
        pixels = cv2.add(pixels, noise, dtype=cv2.CV_8U)
    if dice[3] < chance:
        quality = int(rng.integers(35, 90))
        _, data = cv2.imencode(".jpg", pixels, (cv2.IMWRITE_JPEG_QUALITY, quality))
        decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
        assert decoded is not None  # what was just encoded
        pixels = decoded
    return pixels


def _cut_out(pixels: UInt8Array, rng: np.random.Generator) -> None:
    size = pixels.shape[0]
    height, width = (round(edge) for edge in size * rng.uniform(0.15, 0.45, size=2))
    top = int(rng.integers(0, size - height + 1))
    left = int(rng.integers(0, size - width + 1))
    pixels[top : top + height, left : left + width] = GREY

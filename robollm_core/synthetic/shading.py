# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Light the rasteriser cannot do: penumbras, contact shadow and the gleam of film.

All three work on finished pictures with their depth, which costs a fraction of
drawing them.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from robollm_core.synthetic.meshes import Float32Array, Float64Array
from robollm_core.types import UInt8Array

_SAME_SURFACE_M = 0.012
_TAPS = 12
_FLOOR = np.float32(6.0)  # keeps the share of light steady where there is hardly any
_PITCH = np.pi * (3 - np.sqrt(5))  # golden angle: taps spread evenly over the disc


def _half(image: Float32Array) -> Float32Array:
    size = (image.shape[1] // 2, image.shape[0] // 2)
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.float32)


def soften(
    hard_rgb: UInt8Array, plain_rgb: UInt8Array, depth_m: Float32Array, radius_px: float
) -> UInt8Array:
    """Give the shadows of a picture a soft edge.

    Args:
        hard_rgb: (H, W, 3) uint8 with hard shadows.
        plain_rgb: (H, W, 3) uint8, the same without any.
        depth_m: (H, W) float32; light does not leak across its steps.
        radius_px: Half width of the soft edge.

    Returns:
        (H, W, 3) uint8.
    """
    dark = cv2.cvtColor(hard_rgb, cv2.COLOR_RGB2GRAY).astype(np.float32) + _FLOOR
    light = cv2.cvtColor(plain_rgb, cv2.COLOR_RGB2GRAY).astype(np.float32) + _FLOOR
    share = _half(np.clip(dark / light, 0.0, 1.0))
    depth = _half(depth_m)
    total, weight = share.copy(), np.ones_like(share)
    size, edge = (share.shape[1], share.shape[0]), cv2.BORDER_REPLICATE
    for tap in range(_TAPS):
        reach = radius_px / 2 * np.sqrt((tap + 0.5) / _TAPS)
        # whole pixels: a blend of two neighbours would leak over a step
        x, y = round(reach * np.cos(tap * _PITCH)), round(reach * np.sin(tap * _PITCH))
        move = np.array([[1, 0, x], [0, 1, y]], np.float32)
        there = cv2.warpAffine(depth, move, size, flags=cv2.INTER_NEAREST, borderMode=edge)
        lit = cv2.warpAffine(share, move, size, flags=cv2.INTER_NEAREST, borderMode=edge)
        near = (np.abs(there - depth) < _SAME_SURFACE_M).astype(np.float32)
        total += lit * near
        weight += near
    full = cv2.resize(total / weight, depth_m.shape[::-1], interpolation=cv2.INTER_LINEAR)
    soft = (plain_rgb + _FLOOR) * np.asarray(full, np.float32)[..., None] - _FLOOR
    return np.clip(soft + 0.5, 0, 255).astype(np.uint8)


def contact_shadow(depth_m: Float32Array) -> Float32Array:
    """Share of sky hidden by the neighbourhood, (H, W) in [0, 1], from depth alone.

    Source: the depth-difference darkening of Luft et al., "Image enhancement by
    unsharp masking the depth buffer" (2006), at three scales.
    """
    small = _half(depth_m)
    hidden = np.zeros_like(small)
    for radius, reach_m in ((4, 0.012), (14, 0.04), (40, 0.12)):
        around = cv2.blur(small, (2 * radius + 1,) * 2, borderType=cv2.BORDER_REPLICATE)
        hidden += np.clip((small - around) / reach_m, 0.0, 1.0)
    size = (depth_m.shape[1], depth_m.shape[0])
    return np.asarray(cv2.resize(hidden / 3.0, size, interpolation=cv2.INTER_LINEAR), np.float32)


@dataclass(frozen=True, slots=True)
class Film:
    """How plastic film gleams.

    Attributes:
        strength: brightness of the gleam, 0 for none.
        crease: how far creases turn the surface.
        lamps: number of bright areas that are mirrored.
        sharpness: of the gleam; higher is smaller.
        seed: of creases and lamps.
    """

    strength: float = 0.0
    crease: float = 0.25
    lamps: int = 3
    sharpness: float = 60.0
    seed: int = 0


def _creases(rng: np.random.Generator, size: tuple[int, int]) -> Float32Array:
    """Height of creased film, (H, W): ridges where smooth noise changes sign."""
    height = np.zeros(size, np.float32)
    for cells, share in ((10, 1.0), (24, 0.6), (60, 0.3)):
        shape = (cells * size[0] // size[1] + 2, cells)
        noise = rng.standard_normal(shape).astype(np.float32)
        smooth = cv2.resize(noise, size[::-1], interpolation=cv2.INTER_CUBIC)
        height += share * (1 - np.abs(smooth)) * (40.0 / cells)
    return height


def _normals(depth_m: Float32Array, focal_px: float) -> tuple[Float32Array, Float32Array]:
    """Slopes of the surface seen, as the x and y of its normal over the z, (H, W) each."""
    smooth = cv2.GaussianBlur(depth_m, (0, 0), 1.5)
    scale = focal_px / np.maximum(smooth, 1e-3)
    slope_x = np.asarray(cv2.Sobel(smooth, cv2.CV_32F, 1, 0, scale=0.125), np.float32) * scale
    slope_y = np.asarray(cv2.Sobel(smooth, cv2.CV_32F, 0, 1, scale=0.125), np.float32) * scale
    return np.clip(slope_x, -3, 3), np.clip(slope_y, -3, 3)


def gleam(depth_m: Float32Array, gloss: Float32Array, film: Film) -> Float32Array:
    """Light mirrored by glossy, creased film, (H, W) float32, to be added to a picture.

    Args:
        depth_m: (H, W) float32.
        gloss: (H, W) float32, 0 where nothing gleams.
        film: How.
    """
    rng = np.random.default_rng([film.seed, 9])
    size = (depth_m.shape[0], depth_m.shape[1])
    crease = _creases(rng, size)
    x, y = _normals(depth_m, float(size[0]))
    x += film.crease * np.asarray(cv2.Sobel(crease, cv2.CV_32F, 1, 0), np.float32)
    y += film.crease * np.asarray(cv2.Sobel(crease, cv2.CV_32F, 0, 1), np.float32)
    length = 1.0 / np.sqrt(x * x + y * y + 1.0)
    light = np.zeros(size, np.float32)
    for _ in range(film.lamps):
        lamp: Float64Array = np.r_[rng.normal(0, 0.35, 2), 1.0]
        lamp /= np.linalg.norm(lamp)
        facing = (x * np.float32(lamp[0]) + y * np.float32(lamp[1]) + np.float32(lamp[2])) * length
        light += np.exp(np.float32(film.sharpness) * (np.minimum(facing, 1.0) - 1.0))
    return np.asarray(light * gloss * np.float32(film.strength), np.float32)

# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""What a real camera adds to a rendering: contact shadow, exposure, lens, noise, JPEG."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

from robollm_core.images import encode_jpeg
from robollm_core.synthetic.meshes import Float32Array
from robollm_core.synthetic.render import Int32Array, Rendering
from robollm_core.synthetic.shading import Film, contact_shadow, gleam
from robollm_core.types import UInt8Array


@dataclass(frozen=True, slots=True)
class Exposure:
    """One camera setting.

    Attributes:
        occlusion: strength of the dark seams where things touch, 0 for none.
        level: mean brightness the automatic exposure aims at, 0 for no automatic.
        gain: brightness on top of that, 1 as rendered.
        white: RGB gains of the white balance.
        gamma: above 1 darkens the middle tones.
        saturation: of colours, 1 as rendered.
        vignette: how much darker the corners are, 0 to 1.
        distortion: radial, positive is a barrel.
        blur_px: sigma of the defocus.
        motion_px: length of the motion blur, (x, y).
        noise: sigma of the noise at mid grey, in grey levels.
        quality: of the JPEG, 1 to 100.
        film: gleam of glossy items.
        seed: of the noise.
    """

    occlusion: float = 0.5
    level: float = 0.0
    gain: float = 1.0
    white: tuple[float, float, float] = (1.0, 1.0, 1.0)
    gamma: float = 1.0
    saturation: float = 1.0
    vignette: float = 0.1
    distortion: float = 0.0
    blur_px: float = 0.4
    motion_px: tuple[float, float] = (0.0, 0.0)
    noise: float = 2.0
    quality: int = 90
    film: Film = field(default_factory=Film)
    seed: int = 0


def random_exposure(rng: np.random.Generator) -> Exposure:
    """A setting as tote cameras have, good and bad ones."""
    warm = rng.normal(0, 0.06)
    moving = rng.random() < 0.15
    return Exposure(
        occlusion=rng.uniform(0.1, 0.7),
        level=rng.uniform(0.24, 0.44),
        gain=float(np.exp(rng.normal(0.0, 0.12))),
        white=(1 + warm, 1 + rng.normal(0, 0.02), 1 - warm),
        gamma=float(np.exp(rng.normal(0, 0.15))),
        saturation=rng.uniform(0.6, 1.1),
        vignette=rng.uniform(0, 0.35),
        distortion=rng.normal(0.02, 0.03),
        blur_px=abs(rng.normal(0, 0.6)) if rng.random() < 0.8 else rng.uniform(0.6, 1.6),
        motion_px=(rng.normal(0, 1.5), rng.normal(0, 1.5)) if moving else (0.0, 0.0),
        noise=float(np.exp(rng.uniform(np.log(0.5), np.log(8.0)))),
        quality=int(rng.integers(60, 97)),
        film=Film(
            strength=rng.uniform(0.2, 1.0),
            crease=float(np.exp(rng.uniform(np.log(0.05), np.log(0.6)))),
            lamps=int(rng.integers(2, 6)),
            sharpness=float(np.exp(rng.uniform(np.log(25), np.log(160)))),
            seed=int(rng.integers(1 << 40)),
        ),
        seed=int(rng.integers(1 << 40)),
    )


def _maps(size: tuple[int, ...], distortion: float) -> tuple[Float32Array, Float32Array]:
    height, width = size[:2]
    y, x = np.mgrid[:height, :width].astype(np.float32)
    u, v = (x - width / 2) / (width / 2), (y - height / 2) / (width / 2)
    square = u * u + v * v
    # scaled so that the corner looks at the corner: nothing from outside the rendering is needed
    corner = 1 + distortion * (1 + (height / width) ** 2)
    factor = (1 + distortion * square) / max(corner, 1.0)
    mapped_x = u * factor * (width / 2) + width / 2
    mapped_y = v * factor * (width / 2) + height / 2
    return mapped_x.astype(np.float32), mapped_y.astype(np.float32)


def _automatic(image: Float32Array, level: float) -> float:
    """Gain of an exposure meter that goes most of the way to the wanted level."""
    if level <= 0:
        return 1.0
    return float(np.clip((level / max(float(image.mean()), 0.01)) ** 0.55, 0.6, 2.2))


def _develop(image: Float32Array, setting: Exposure, rng: np.random.Generator) -> UInt8Array:
    height, width = image.shape[:2]
    gain = setting.gain * _automatic(image, setting.level)
    image = image * (np.array(setting.white, np.float32) * np.float32(gain))
    np.clip(image, 0.0, 1.0, out=image)
    np.power(image, np.float32(setting.gamma), out=image)
    grey = image @ np.array((0.299, 0.587, 0.114), np.float32)
    image = grey[..., None] + (image - grey[..., None]) * np.float32(setting.saturation)
    y, x = np.ogrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
    image *= (1 - setting.vignette * (x * x + y * y) / 2).astype(np.float32)[..., None]
    if setting.blur_px > 0.2:
        image = np.asarray(cv2.GaussianBlur(image, (0, 0), setting.blur_px), np.float32)
    if setting.motion_px != (0.0, 0.0):
        image = np.asarray(cv2.filter2D(image, -1, _streak(setting.motion_px)), np.float32)
    # photon noise grows with the root of the light, read noise does not
    grain = rng.standard_normal(image.shape, np.float32) * np.float32(setting.noise / 255)
    image += grain * np.sqrt(0.25 + 1.5 * np.clip(image, 0, 1))
    return np.clip(image * 255 + 0.5, 0, 255).astype(np.uint8)


def _streak(motion_px: tuple[float, float]) -> Float32Array:
    size = 2 * int(np.ceil(max(abs(motion_px[0]), abs(motion_px[1]), 1.0))) + 1
    kernel = np.zeros((size, size), np.float32)
    middle = size // 2
    end = (round(middle + motion_px[0]), round(middle + motion_px[1]))
    cv2.line(kernel, (2 * middle - end[0], 2 * middle - end[1]), end, 1.0)
    return np.asarray(kernel / kernel.sum(), np.float32)


def expose(
    rendering: Rendering, setting: Exposure, gloss: Sequence[float] = ()
) -> tuple[bytes, Int32Array]:
    """Take the photo.

    Args:
        rendering: What is in front of the camera.
        setting: Of the camera.
        gloss: Of instance 0, 1, ... in [0, 1]; others do not gleam.

    Returns:
        JPEG bytes and the (H, W) int32 instance numbers of its pixels: the same
        lens distortion, never blended.
    """
    rng = np.random.default_rng(setting.seed)
    image = np.asarray(rendering.image_rgb, np.float32) / np.float32(255)
    shade = 1 - setting.occlusion * contact_shadow(rendering.depth_m)
    image *= shade[..., None]
    if setting.film.strength > 0 and any(value > 0 for value in gloss):
        table = np.array([*gloss, 0.0], np.float32)
        known = (rendering.instances >= 0) & (rendering.instances < len(gloss))
        shine = table[np.where(known, rendering.instances, len(gloss))]
        image += gleam(rendering.depth_m, shine, setting.film)[..., None]
    instances = rendering.instances
    if abs(setting.distortion) > 1e-4:
        x, y = _maps(instances.shape, setting.distortion)
        edge = cv2.BORDER_REPLICATE
        image = np.asarray(cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=edge), np.float32)
        numbers = instances.astype(np.int16)
        instances = cv2.remap(numbers, x, y, cv2.INTER_NEAREST, borderMode=edge).astype(np.int32)
    return encode_jpeg(_develop(image, setting, rng), setting.quality), instances

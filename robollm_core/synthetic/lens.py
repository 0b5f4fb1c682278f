# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""What a real camera adds to a rendering: contact shadow, exposure, lens, noise, JPEG."""

from dataclasses import dataclass

import cv2
import numpy as np

from robollm_core.images import encode_jpeg
from robollm_core.synthetic.meshes import Float32Array
from robollm_core.synthetic.render import Int32Array, Rendering
from robollm_core.types import UInt8Array


@dataclass(frozen=True, slots=True)
class Exposure:
    """One camera setting.

    Attributes:
        occlusion: strength of the dark seams where things touch, 0 for none.
        gain: brightness, 1 as rendered.
        white: RGB gains of the white balance.
        gamma: above 1 darkens the middle tones.
        saturation: of colours, 1 as rendered.
        vignette: how much darker the corners are, 0 to 1.
        distortion: radial, positive is a barrel.
        blur_px: sigma of the defocus.
        motion_px: length of the motion blur, (x, y).
        noise: sigma of the noise at mid grey, in grey levels.
        quality: of the JPEG, 1 to 100.
        seed: of the noise.
    """

    occlusion: float = 0.5
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
    seed: int = 0


def random_exposure(rng: np.random.Generator) -> Exposure:
    """A setting as tote cameras have, good and bad ones."""
    warm = rng.normal(0, 0.06)
    moving = rng.random() < 0.15
    return Exposure(
        occlusion=rng.uniform(0.4, 1.0),
        gain=float(np.exp(rng.normal(0.08, 0.2))),
        white=(1 + warm, 1 + rng.normal(0, 0.02), 1 - warm),
        gamma=float(np.exp(rng.normal(0, 0.15))),
        saturation=rng.uniform(0.6, 1.1),
        vignette=rng.uniform(0, 0.35),
        distortion=rng.normal(0.02, 0.03),
        blur_px=abs(rng.normal(0, 0.6)) if rng.random() < 0.8 else rng.uniform(0.6, 1.6),
        motion_px=(rng.normal(0, 1.5), rng.normal(0, 1.5)) if moving else (0.0, 0.0),
        noise=float(np.exp(rng.uniform(np.log(0.5), np.log(8.0)))),
        quality=int(rng.integers(60, 97)),
        seed=int(rng.integers(1 << 40)),
    )


def contact_shadow(depth_m: Float32Array) -> Float32Array:
    """Share of sky hidden by the neighbourhood, (H, W) in [0, 1], from depth alone.

    Source: the depth-difference darkening of Luft et al., "Image enhancement by
    unsharp masking the depth buffer" (2006), at three scales.
    """
    half = (depth_m.shape[1] // 2, depth_m.shape[0] // 2)
    small = np.asarray(cv2.resize(depth_m, half, interpolation=cv2.INTER_AREA), np.float32)
    hidden = np.zeros_like(small)
    for radius, reach_m in ((4, 0.012), (14, 0.04), (40, 0.12)):
        around = cv2.blur(small, (2 * radius + 1,) * 2, borderType=cv2.BORDER_REPLICATE)
        hidden += np.clip((small - around) / reach_m, 0.0, 1.0)
    size = (depth_m.shape[1], depth_m.shape[0])
    return np.asarray(cv2.resize(hidden / 3.0, size, interpolation=cv2.INTER_LINEAR), np.float32)


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


def _develop(image: Float32Array, setting: Exposure, rng: np.random.Generator) -> UInt8Array:
    height, width = image.shape[:2]
    image = image * (np.array(setting.white, np.float32) * setting.gain)
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


def expose(rendering: Rendering, setting: Exposure) -> tuple[bytes, Int32Array]:
    """Take the photo.

    Args:
        rendering: What is in front of the camera.
        setting: Of the camera.

    Returns:
        JPEG bytes and the (H, W) int32 instance numbers of its pixels: the same
        lens distortion, never blended.
    """
    rng = np.random.default_rng(setting.seed)
    image = np.asarray(rendering.image_rgb, np.float32) / np.float32(255)
    shade = 1 - setting.occlusion * contact_shadow(rendering.depth_m)
    image *= shade[..., None]
    instances = rendering.instances
    if abs(setting.distortion) > 1e-4:
        x, y = _maps(instances.shape, setting.distortion)
        edge = cv2.BORDER_REPLICATE
        image = np.asarray(cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=edge), np.float32)
        numbers = instances.astype(np.int16)
        instances = cv2.remap(numbers, x, y, cv2.INTER_NEAREST, borderMode=edge).astype(np.int32)
    return encode_jpeg(_develop(image, setting, rng), setting.quality), instances

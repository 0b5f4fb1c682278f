# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""How pictures are brought to somebody else's encoder, stated, so that it can be repeated.

Pillow resizes, as it does for timm and torchvision: their encoders are judged
by the pixels they were trained on.
"""

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml

from robollm_core.data.samples import Picture, place
from robollm_core.errors import ConfigError, DependencyError
from robollm_core.images import GREY
from robollm_core.types import UInt8Array

_LIMIT = 1 << 20
_FILTERS = ("nearest", "box", "bilinear", "bicubic", "lanczos")
_CHOICES = {
    "layout": ("NCHW", "NHWC"),
    "interpolation": _FILTERS,
    "resize": ("squash", "shorter"),
    "colour": ("RGB", "BGR"),
    "pooling": ("none", "cls", "mean"),
    "region": ("mask", "box", "whole"),
}
EXAMPLE = (
    "layout: NCHW, size: 224, mean: [0.485, 0.456, 0.406], std: [0.229, 0.224, 0.225], "
    "interpolation: bicubic, resize: squash, colour: RGB, pooling: none, l2: true"
)


@dataclass(frozen=True, slots=True)
class Preprocess:
    """What a picture goes through on its way into an encoder and out of it.

    Attributes:
        layout: "NCHW" or "NHWC", of the input.
        size: (height, width) of the input, pixels.
        mean, std: a channel, in the order of `colour`: (pixel - mean) / std, with
            pixels from 0 to `top`.
        interpolation: Pillow's filter.
        resize: "squash" to `size` whatever the aspect ratio, or "shorter": the
            shorter side to `shorter_px`, then the centre of `size`.
        colour: order of the channels.
        pooling: "none" takes (N, D) as it is; "cls" the first token of (N, T, D);
            "mean" the mean over tokens, or over the places of a feature map.
        l2: whether embeddings are brought to unit length, as for cosines.
        input, output: names in the graph, "" for its only one.
        shorter_px: for "shorter"; 0 for the shorter side of `size`.
        top: value of the brightest pixel before `mean`, 1 or 255.
        skip: leading tokens that "mean" leaves out, such as CLS and registers.
        region: what is shown of a picture with an outline: "mask" (its box, grey
            outside the outline), "box", or "whole" (the whole picture).
        margin: each side of the box is moved out by this fraction of its longer side.
    """

    layout: str
    size: tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str
    resize: str
    colour: str
    pooling: str
    l2: bool
    input: str = ""
    output: str = ""
    shorter_px: int = 0
    top: float = 1.0
    skip: int = 0
    region: str = "mask"
    margin: float = 0.0

    def __post_init__(self) -> None:
        """Refuse what no encoder can have.

        Raises:
            ConfigError: If a value is of the wrong type or out of range.
        """
        for name, choices in _CHOICES.items():
            _expect(getattr(self, name) in choices, name, f"one of {choices}", getattr(self, name))
        whole = all(type(side) is int and 1 <= side <= 4096 for side in self.size)
        _expect(whole and len(self.size) == 2, "size", "1 or 2 counts of pixels", self.size)
        for name in ("mean", "std"):
            _expect(_numbers(getattr(self, name)), name, "3 finite numbers", getattr(self, name))
        _expect(min(self.std) > 0, "std", "3 numbers above 0", self.std)
        _expect(self.top in (1, 255), "top", "1 or 255", self.top)
        _expect(type(self.l2) is bool, "l2", "true or false", self.l2)
        _expect(type(self.skip) is int and self.skip >= 0, "skip", "a count", self.skip)
        margin = isinstance(self.margin, int | float) and 0 <= self.margin <= 2
        _expect(margin, "margin", "a number from 0 to 2", self.margin)
        shorter = type(self.shorter_px) is int and (
            self.shorter_px == 0 or self.shorter_px >= max(self.size)
        )
        _expect(shorter, "shorter_px", "a count of at least size", self.shorter_px)

    def to_json(self) -> str:
        """The statement as one line of JSON."""
        return json.dumps(asdict(self), sort_keys=True)


def read_preprocess(statement: str | Path | Mapping[str, Any]) -> Preprocess:
    """Read a statement of preprocessing.

    Args:
        statement: a mapping, a YAML or JSON file, or text such as
            "layout=NCHW size=224 mean=[0.5,0.5,0.5] ...".

    Raises:
        ConfigError: If it cannot be read, lacks a key, has an unknown one, or one
            of a wrong value.
    """
    tree = statement if isinstance(statement, Mapping) else _parse(str(statement))
    known = {field.name for field in fields(Preprocess)}
    needed = [field.name for field in fields(Preprocess) if field.default is MISSING]
    lacking = [name for name in needed if name not in tree]
    unknown = sorted(map(str, set(tree) - known))
    if lacking or unknown:
        raise ConfigError(
            f"the preprocessing of an encoder must state {', '.join(needed)}; it may state "
            f"{', '.join(sorted(known - set(needed)))}. Missing: {lacking}, unknown: {unknown}. "
            f"For example {EXAMPLE}."
        )
    values = dict(tree)
    size = values["size"]
    values["size"] = (size, size) if isinstance(size, int) else _as_tuple("size", size)
    for name in ("mean", "std"):
        values[name] = _as_tuple(name, values[name])
    return Preprocess(**values)


def _parse(text: str) -> Mapping[str, Any]:
    path = Path(text)
    is_file = path.suffix in (".yaml", ".yml", ".json")
    try:
        if is_file:
            with path.open("rb") as file:
                tree = yaml.safe_load(file.read(_LIMIT).decode("utf-8"))
        else:
            words = [word.partition("=") for word in shlex.split(text)]
            tree = {name: yaml.safe_load(value) for name, _, value in words}
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ConfigError(f"cannot read the preprocessing {text}: {error}") from error
    if not isinstance(tree, dict):
        raise ConfigError(f"{text} must state the preprocessing by name, such as {EXAMPLE}.")
    return tree


def _as_tuple(name: str, value: Any) -> tuple[Any, ...]:
    _expect(isinstance(value, list | tuple), name, "a list", value)
    return tuple(value)


def _numbers(values: Sequence[Any]) -> bool:
    plain = all(isinstance(v, int | float) and not isinstance(v, bool) for v in values)
    return len(values) == 3 and plain and bool(np.isfinite(values).all())


def _expect(holds: bool, name: str, wanted: str, got: Any) -> None:
    if not holds:
        raise ConfigError(f"preprocessing: {name} must be {wanted}, got {got!r}.")


def bring(image: UInt8Array, picture: Picture, how: Preprocess) -> UInt8Array:
    """Bring a picture to the size of an encoder.

    Args:
        image: (H, W, 3) uint8 RGB, the whole picture.
        picture: says what to look at.
        how: the statement.

    Returns:
        (height, width, 3) uint8, channels in the order stated; small, so that it can
        wait for its batch.

    Raises:
        DatasetError: If the region lies outside the picture.
        DependencyError: If Pillow is not installed.
    """
    pixels = _resize(_show(image, picture, how), how)
    return np.ascontiguousarray(pixels[..., ::-1] if how.colour == "BGR" else pixels)


def normalise(pixels: UInt8Array, how: Preprocess) -> npt.NDArray[np.float32]:
    """(N, H, W, 3) uint8 to the float32 that the encoder takes, in its layout."""
    scaled = pixels.astype(np.float32) * np.float32(how.top / 255.0)
    scaled -= np.asarray(how.mean, np.float32)
    scaled /= np.asarray(how.std, np.float32)
    return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2) if how.layout == "NCHW" else scaled)


def _show(image: UInt8Array, picture: Picture, how: Preprocess) -> UInt8Array:
    """The part of a picture that counts, at its own resolution."""
    if picture.region is None or how.region == "whole":
        return image
    (x0, y0, x1, y1), mask = place(picture.region, image.shape[:2], str(picture.path))
    if how.region == "mask" and mask is not None:
        image = image.copy()
        keep = np.zeros(image.shape[:2], dtype=np.bool_)
        keep[y0:y1, x0:x1] = mask
        image[~keep] = GREY
    grow = round(how.margin * max(x1 - x0, y1 - y0))
    return image[max(y0 - grow, 0) : y1 + grow, max(x0 - grow, 0) : x1 + grow]


def _resize(pixels: UInt8Array, how: Preprocess) -> UInt8Array:
    try:
        from PIL import Image
    except ModuleNotFoundError as error:
        raise DependencyError(
            "encoders of others need the Python package Pillow, which is not installed. Install "
            "it with: pip install '.[train]' in the checkout."
        ) from error
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    kind = Image.Resampling[how.interpolation.upper()]
    high, wide = how.size
    if how.resize == "squash":
        return np.asarray(picture.resize((wide, high), kind))
    # torchvision's Resize and CenterCrop: the longer side is cut to a whole number
    side = how.shorter_px or max(how.size)
    width, height = picture.size
    short = min(width, height)
    picture = picture.resize((side * width // short, side * height // short), kind)
    left, top = round((picture.width - wide) / 2), round((picture.height - high) / 2)
    return np.asarray(picture.crop((left, top, left + wide, top + high)))

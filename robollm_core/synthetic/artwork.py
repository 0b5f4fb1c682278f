# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Printed packaging: what stands on the panels of a product.

A brand seed fixes the look (name, faces, logo, palette, layout); a flavour
seed varies it inside the brand (flavour word, accent, motif), which is how
look-alike products of one shelf differ. OpenCV draws: shapes, blends and
resizes cost microseconds and need no further package than the core has.
"""

import colorsys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from robollm_core.synthetic.lettering import FACES, Box, Colour, put_text
from robollm_core.synthetic.prints import (
    barcode,
    drawing,
    logo,
    nutrition_table,
    paragraph,
    pattern,
    photo,
)
from robollm_core.types import UInt8Array

Role = Literal["front", "back", "side", "top", "wrap"]


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split(","))


_SYLLABLES = (
    _words("ka,lo,mi,ra,ve,nu,so,ti,ba,fe,gi,ho,ju,pe,ri,sa,to,vi,zo,al,en,or,ax,el,um"),
    _words("na,ra,lo,mi,do,ta,li,sa,vo,ni,co,ma,te,du,re,ba,ki,no,pa,le"),
    _words("x,n,co,ra,ty,la,do,vo,na,ny,ro,s,th,lle,ck,ff,r,tex,pro,lia"),
)
_GOODS = _words(
    "Cereal,Crackers,Coffee,Tea Bags,Cookies,Rice,Pasta,Soup,Dog Treats,Cat Food,Shampoo,Soap Bar,"
    "Hand Wash,Toothpaste,Vitamins,Batteries,LED Bulb,Screws,Tape,Markers,Notebook,Puzzle,Toy Car,"
    "Glue Stick,Sponges,Wipes,Detergent,Candle,Socks,Phone Case,USB Cable,Adapter,Brush Set,Granola"
)
_FLAVOURS = _words(
    "Lemon,Cherry,Vanilla,Mint,Original,Berry,Lavender,Cocoa,Ginger,Peach,Sea Salt,Honey,Apple,"
    "Extra Strong,Sensitive,Classic,Light,Double,Ocean,Rose,Mango,Almond,Olive,Coconut,Maple"
)
_CLAIMS = _words(
    "NEW,2 in 1,100%,BIO,Free,Best,3x,PRO,No.1,+20%,Family Pack,Value Size,Easy,Original,Top,24h"
)
_LAYOUTS = 8


@dataclass(frozen=True, slots=True)
class Style:
    """The look of one product's print.

    Attributes:
        brand_seed: Fixes brand, faces, logo, palette and layout.
        flavour_seed: Varies flavour word, accent and motif inside the brand.
        brand: Brand name.
        goods: What it is.
        flavour: Which variant of it.
        amount: Printed quantity, such as "350 g".
        base: Main colour, RGB.
        accent: Colour of the flavour, RGB.
        ink: Colour of the type on `base`, RGB.
        faces: Type faces of brand, goods and small print.
        layout: Which of the front layouts.
    """

    brand_seed: int
    flavour_seed: int
    brand: str
    goods: str
    flavour: str
    amount: str
    base: Colour
    accent: Colour
    ink: Colour
    faces: tuple[int, int, int]
    layout: int

    @property
    def text(self) -> str:
        """One line that describes the product, as a shop would."""
        return f"{self.brand} {self.goods}, {self.flavour}, {self.amount}"


def _hsv(hue: float, saturation: float, value: float) -> Colour:
    red, green, blue = colorsys.hsv_to_rgb(hue % 1.0, saturation, value)
    return (round(red * 255), round(green * 255), round(blue * 255))


def _readable_on(colour: Colour, hue: float) -> Colour:
    light = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]
    return _hsv(hue, 0.6, 0.22) if light > 140 else (250, 248, 240)


def _base_colour(rng: np.random.Generator, hue: float) -> Colour:
    """Shelves hold white, kraft, black and coloured packs alike."""
    kind = rng.choice(5, p=(0.42, 0.24, 0.12, 0.1, 0.12))
    if kind == 0:
        return _hsv(hue, rng.uniform(0.55, 1.0), rng.uniform(0.45, 0.98))
    if kind == 1:
        return _hsv(hue, rng.uniform(0.0, 0.08), rng.uniform(0.9, 1.0))
    if kind == 2:
        return _hsv(rng.uniform(0.07, 0.1), rng.uniform(0.3, 0.5), rng.uniform(0.6, 0.8))
    if kind == 3:
        return _hsv(hue, rng.uniform(0.0, 0.5), rng.uniform(0.06, 0.2))
    return _hsv(hue, rng.uniform(0.2, 0.45), rng.uniform(0.8, 1.0))


def make_style(brand_seed: int, flavour_seed: int) -> Style:
    """Choose the look of a product.

    Args:
        brand_seed: Same seed, same brand: name, goods, faces, palette, layout.
        flavour_seed: Same brand and another seed: a look-alike.

    Returns:
        A style that depends on the two seeds alone.
    """
    brand = np.random.default_rng((0xB4A2D, brand_seed))
    taste = np.random.default_rng((0xF1A0, brand_seed, flavour_seed))
    name = "".join(str(brand.choice(part)) for part in _SYLLABLES[: brand.integers(2, 4)])
    name = name.upper() if brand.random() < 0.5 else name.capitalize()
    hue = brand.random()
    base = _base_colour(brand, hue)
    flavours = brand.permutation(len(_FLAVOURS))
    word = _FLAVOURS[flavours[flavour_seed % len(_FLAVOURS)]]
    amount = (
        f"{taste.choice((6, 12, 50, 100, 150, 250, 350, 500, 750))} {brand.choice(('g', 'ml'))}"
    )
    return Style(
        brand_seed=brand_seed,
        flavour_seed=flavour_seed,
        brand=name,
        goods=str(brand.choice(_GOODS)),
        flavour=word,
        amount=amount,
        base=base,
        accent=_hsv(taste.random(), taste.uniform(0.5, 1.0), taste.uniform(0.5, 1.0)),
        ink=_readable_on(base, hue + brand.choice((0.0, 0.5))),
        faces=(int(brand.integers(FACES)), int(brand.integers(FACES)), int(brand.integers(2))),
        layout=int(brand.integers(_LAYOUTS)),
    )


def _part(shape: tuple[int, ...], x0: float, y0: float, x1: float, y1: float) -> Box:
    high, wide = shape[:2]
    return (round(x0 * wide), round(y0 * high), round(x1 * wide), round(y1 * high))


def _view(canvas: UInt8Array, box: Box) -> UInt8Array:
    return canvas[max(box[1], 0) : box[3], max(box[0], 0) : box[2]]


def _ground(style: Style, size_px: tuple[int, int]) -> UInt8Array:
    """Fill a panel with the brand's ground: plain, graded, banded or patterned."""
    look = np.random.default_rng((0x6D, style.brand_seed))
    high, wide = size_px
    canvas = np.empty((high, wide, 3), np.uint8)
    canvas[:] = style.base
    kind = look.integers(5)
    if kind == 1:
        ramp = np.linspace(0.6, 1.15, high)[:, None, None]
        canvas[:] = np.clip(canvas * ramp, 0, 255).astype(np.uint8)
    elif kind == 2:
        pattern(canvas, look, style.accent)
    elif kind == 3:
        x = round(wide * look.uniform(0.15, 0.5))
        corners = np.array([(0, 0), (x, 0), (round(x * look.uniform(0.2, 2)), high), (0, high)])
        cv2.fillPoly(canvas, [corners.astype(np.int32)], style.accent, cv2.LINE_AA)
    elif kind == 4:
        canvas[: round(high * look.uniform(0.1, 0.3))] = style.accent
    return canvas


def _motif(canvas: UInt8Array, style: Style, box: Box) -> None:
    """Paint the flavour's picture: a photo-like patch or a drawn motif."""
    window = _view(canvas, box)
    if window.size == 0:
        return
    taste = np.random.default_rng((0x307, style.brand_seed, style.flavour_seed))
    if np.random.default_rng((0x308, style.brand_seed)).random() < 0.55:
        photo(window, taste, style.accent)
    else:
        drawing(window, taste, style.accent)


_FRONT_PARTS: tuple[tuple[tuple[int, int, int, int], ...], ...] = (
    # brand, goods, motif, flavour band, amount: percent of the panel
    ((10, 5, 90, 25), (10, 27, 90, 37), (15, 40, 85, 80),
     (0, 82, 100, 92), (60, 93, 97, 99)),
    ((5, 40, 95, 62), (10, 64, 90, 74), (0, 0, 100, 38),
     (0, 78, 100, 88), (5, 90, 40, 97)),
    ((5, 5, 60, 20), (5, 22, 60, 32), (35, 35, 100, 100),
     (5, 36, 50, 46), (4, 88, 32, 96)),
    ((10, 72, 90, 94), (10, 60, 90, 70), (5, 5, 95, 58),
     (55, 5, 100, 17), (5, 95, 30, 99)),
    ((3, 3, 97, 33), (5, 36, 60, 46), (50, 48, 98, 98),
     (0, 55, 48, 70), (5, 85, 40, 95)),
    ((8, 30, 92, 50), (20, 53, 80, 61), (30, 4, 70, 27),
     (20, 65, 80, 75), (35, 88, 65, 95)),
    ((45, 8, 97, 28), (45, 30, 97, 42), (0, 0, 42, 100),
     (45, 50, 100, 62), (60, 85, 95, 94)),
    ((15, 15, 85, 30), (20, 32, 80, 42), (0, 50, 100, 100),
     (25, 43, 75, 50), (70, 3, 97, 10)),
)  # fmt: skip


def _front(canvas: UInt8Array, style: Style, rng: np.random.Generator) -> None:
    brand, goods, motif, flavour, amount = (
        _part(canvas.shape, *(p / 100 for p in part)) for part in _FRONT_PARTS[style.layout]
    )
    look = np.random.default_rng((0x90, style.brand_seed))
    _motif(canvas, style, motif)
    plate = look.random()
    if plate < 0.4:
        _view(canvas, brand)[:] = style.ink
    colour = style.base if plate < 0.4 else style.ink
    if look.random() < 0.6:
        side = min(brand[3] - brand[1], (brand[2] - brand[0]) // 3)
        logo(canvas, style.brand_seed, (brand[0], brand[1], brand[0] + side, brand[3]), colour)
        brand = (brand[0] + side, *brand[1:])
    put_text(canvas, style.brand, style.faces[0], brand, colour)
    put_text(canvas, style.goods, style.faces[1], goods, style.ink)
    _view(canvas, flavour)[:] = style.accent
    put_text(canvas, style.flavour, style.faces[1], flavour, _readable_on(style.accent, 0.0))
    put_text(canvas, style.amount, style.faces[2], amount, style.ink, 1.0)
    if look.random() < 0.5:
        _claim(canvas, style, look)


def _claim(canvas: UInt8Array, style: Style, look: np.random.Generator) -> None:
    """Stick the round badge that shouts a claim onto the front."""
    high, wide = canvas.shape[:2]
    radius = max(3, round(min(high, wide) * look.uniform(0.08, 0.16)))
    x = int(look.integers(radius, max(radius + 1, wide - radius)))
    y = int(look.integers(radius, max(radius + 1, high - radius)))
    paint = _hsv(look.random(), 0.9, 0.95)
    turns = np.linspace(0, 2 * np.pi, 32, endpoint=False)
    reach = radius * (1.0 - 0.15 * (np.arange(32) % 2) * look.integers(0, 2))
    star = np.stack([x + reach * np.cos(turns), y + reach * np.sin(turns)], 1)
    cv2.fillPoly(canvas, [np.round(star).astype(np.int32)], paint, cv2.LINE_AA)
    inner = (x - round(radius * 0.7), y - radius // 3, x + round(radius * 0.7), y + radius // 3)
    put_text(canvas, str(look.choice(_CLAIMS)), style.faces[1], inner, _readable_on(paint, 0.0))


def _back(canvas: UInt8Array, style: Style, rng: np.random.Generator) -> None:
    shape = canvas.shape
    put_text(canvas, style.brand, style.faces[0], _part(shape, 0.08, 0.04, 0.92, 0.14), style.ink)
    paragraph(canvas, rng, _part(shape, 0.08, 0.17, 0.92, 0.4), style.ink)
    nutrition_table(canvas, rng, _part(shape, 0.06, 0.44, 0.52, 0.95))
    paragraph(canvas, rng, _part(shape, 0.56, 0.44, 0.94, 0.66), style.ink)
    barcode(canvas, (style.brand_seed, style.flavour_seed), _part(shape, 0.56, 0.72, 0.95, 0.94))


def _side(canvas: UInt8Array, style: Style, rng: np.random.Generator) -> None:
    high, wide = canvas.shape[:2]
    turned = high > 1.6 * wide
    face = np.ascontiguousarray(np.rot90(canvas)) if turned else canvas
    shape = face.shape
    put_text(face, style.brand, style.faces[0], _part(shape, 0.05, 0.1, 0.6, 0.5), style.ink)
    _view(face, _part(shape, 0.05, 0.55, 0.6, 0.75))[:] = style.accent
    put_text(
        face, style.flavour, style.faces[1], _part(shape, 0.07, 0.56, 0.58, 0.74),
        _readable_on(style.accent, 0.0),
    )  # fmt: skip
    if rng.random() < 0.5:
        nutrition_table(face, rng, _part(shape, 0.66, 0.08, 0.96, 0.92))
    else:
        paragraph(face, rng, _part(shape, 0.66, 0.1, 0.96, 0.9), style.ink)
    if turned:
        canvas[:] = np.rot90(face, -1)


def _top(canvas: UInt8Array, style: Style, rng: np.random.Generator) -> None:
    shape = canvas.shape
    look = np.random.default_rng((0x70, style.brand_seed))
    if look.random() < 0.5:
        _view(canvas, _part(shape, 0, 0.7, 1, 1))[:] = style.accent
    put_text(canvas, style.brand, style.faces[0], _part(shape, 0.1, 0.15, 0.9, 0.65), style.ink)
    put_text(canvas, style.amount, style.faces[2], _part(shape, 0.6, 0.74, 0.95, 0.94), style.ink)


def _wrap(canvas: UInt8Array, style: Style, rng: np.random.Generator) -> None:
    """Front in the middle, back split over the seam, so that left meets right."""
    wide = canvas.shape[1]
    third = wide // 3
    back = np.ascontiguousarray(canvas[:, : wide - 2 * third])
    _back(back, style, rng)
    half = back.shape[1] // 2
    canvas[:, wide - half :] = back[:, :half]
    canvas[:, : back.shape[1] - half] = back[:, half:]
    front = np.ascontiguousarray(canvas[:, third : wide - third])
    _front(front, style, rng)
    canvas[:, third : wide - third] = front


_ROLES: dict[str, Callable[[UInt8Array, Style, np.random.Generator], None]] = {
    "front": _front,
    "back": _back,
    "side": _side,
    "top": _top,
    "wrap": _wrap,
}


def draw_panel(
    style: Style, size_px: tuple[int, int], role: Role, rng: np.random.Generator
) -> UInt8Array:
    """Print one panel.

    Args:
        style: The look.
        size_px: (height, width), each at least 8.
        role: Which panel: "wrap" goes round a can or bottle, front in the
            middle and the seam at the left and right edge.
        rng: Source of the small print; the look does not depend on it.

    Returns:
        (height, width, 3) uint8 RGB, upright.
    """
    canvas = _ground(style, size_px)
    _ROLES[role](canvas, style, rng)
    return canvas

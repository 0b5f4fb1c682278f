# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The printed packagings of a warehouse: geometry and panels of each family.

A family draws its proportions from a generator; look-alike products pass a
generator in the same state and differ in print or scale only.
"""

import cv2
import numpy as np

from robollm_core.synthetic.artwork import Style, draw_panel
from robollm_core.synthetic.atlas import pack
from robollm_core.synthetic.drafts import (
    Collision,
    Draft,
    Press,
    between,
    cloth,
    curl,
    dye,
    label_bands,
    plain,
    press_for,
    some_colour,
)
from robollm_core.synthetic.meshes import (
    Bend,
    Float64Array,
    Region,
    ball,
    cube_grid,
    join,
    lathe,
    shifted,
    smooth_noise,
)
from robollm_core.types import UInt8Array


def _box_panels(press: Press, dims: tuple[float, float, float]) -> dict[str, UInt8Array]:
    w, h, d = dims
    return {
        "front": press.panel("front", w, h),
        "back": press.panel("back", w, h),
        "left": press.panel("side", d, h),
        "top": press.panel("top", w, d),
    }


def _mirrored(regions: dict[str, Region]) -> None:
    regions["right"] = regions["left"]
    regions["bottom"] = regions["top"]


def carton(style: Style, rng: np.random.Generator, scale: float) -> Draft:
    """Folding boxes: flat or cubic, sharp edged, faces a little bulged."""
    w, h = between(rng, 0.05, 0.2) * scale, between(rng, 0.06, 0.24) * scale
    d = min(w, h) * between(rng, 0.18, 1.0)
    bulge = rng.normal(0, 0.03) * min(w, h, d)
    half = np.array((w, h, d)) / 2

    def bend(points: Float64Array) -> Float64Array:
        x, y, _ = (points / half).T
        dome = np.clip((1 - x**2) * (1 - y**2), 0, 1)
        lift = np.sign(points[:, 2]) * bulge * dome
        return np.asarray(points + np.stack([0 * x, 0 * x, lift], -1), np.float64)

    texture, regions = pack(_box_panels(press_for(style, rng, max(w, h)), (w, h, d)))
    _mirrored(regions)
    mesh = cube_grid((w, h, d), regions, bend, (6, 6, 3), round_m=0.0015)
    return Draft(mesh, texture, rng.uniform(150, 700), rng.choice((0.1, 0.3, 0.6)))


def book(style: Style, rng: np.random.Generator, scale: float) -> Draft:
    """Books and cases: printed cover and spine, paper on the other three edges."""
    w, h = rng.uniform(0.1, 0.19) * scale, rng.uniform(0.14, 0.26) * scale
    d = rng.uniform(0.006, 0.04)
    press = press_for(style, rng, max(w, h))
    panels = _box_panels(press, (w, h, d))
    rows = rng.normal(rng.uniform(200, 240), 14, (32, 1, 1))
    paper = np.clip(rows * np.array((1.0, 0.97, 0.9)), 0, 255).astype(np.uint8)
    panels["top"] = np.broadcast_to(paper, (32, 16, 3)).copy()
    texture, regions = pack(panels)
    regions["right"] = regions["bottom"] = regions["top"]
    mesh = cube_grid((w, h, d), regions, curl(rng, w, h, 0.006), (8, 8, 1), 0.0008)
    return Draft(mesh, texture, rng.uniform(400, 900), rng.choice((0.15, 0.5, 0.9)))


def can(style: Style, rng: np.random.Generator, scale: float) -> Draft:
    """Tins, drink cans, jars and drums: a printed wrap between metal ends."""
    r = between(rng, 0.025, 0.055) * scale
    h = r * rng.uniform(1.0, 4.4)
    ring = between(rng, 0.04, 0.12) * r
    lid = some_colour(rng) if rng.random() < 0.4 else (185, 185, 190)
    press = press_for(style, rng, max(2 * np.pi * r * 0.6, h))
    texture, regions = pack(
        {
            "wrap": press.panel("wrap", 2 * np.pi * r, h),
            "end": press.panel("top", 2 * r, 2 * r) if rng.random() < 0.3 else plain(lid),
            "rim": plain(lid),
        }
    )
    neck = rng.uniform(0.75, 0.99)
    y = h / 2
    profile = [
        (r * neck, -y, "end."), (r, -y + ring, "rim"), (r, y - ring, "wrap"),
        (r * neck, y, "rim"), (r * neck * 0.92, y, "rim"), (r * neck * 0.9, y - ring, "rim"),
        (0.0, y - ring, "end."),
    ]  # fmt: skip
    mesh = lathe((0.0, -y), label_bands(profile, regions))
    return Draft(mesh, texture, rng.uniform(300, 1000), rng.uniform(0.5, 1.0), "cylinder")


def bottle(style: Style, rng: np.random.Generator, scale: float) -> Draft:
    """Bottles and flasks: body, shoulder, neck and cap, round or flattened."""
    r, h = between(rng, 0.02, 0.045) * scale, between(rng, 0.09, 0.24) * scale
    cap_r = r * rng.uniform(0.3, 0.95)
    cap_h = h * rng.uniform(0.06, 0.22)
    shoulder = h * rng.uniform(0.03, 0.25)
    flat = rng.uniform(0.5, 1.0) if rng.random() < 0.5 else 1.0
    body, cap = np.array(some_colour(rng)), some_colour(rng)
    press = press_for(style, rng, h)
    label = h - cap_h - shoulder
    texture, regions = pack(
        {
            "wrap": press.panel("wrap", 2 * np.pi * r, label * 0.8),
            "body": plain(body),
            "cap": plain(cap),
        }
    )
    y = h / 2
    foot = 0.12 * r
    profile = [
        (r - foot, -y, "body."), (r, -y + foot, "body"), (r, -y + 0.1 * label, "body"),
        (r, -y + 0.9 * label, "wrap"), (r, -y + label, "body"),
        (0.5 * (r + cap_r) + 0.15 * r, -y + label + 0.55 * shoulder, "body"),
        (cap_r * 0.85, y - cap_h, "body"), (cap_r, y - cap_h, "cap"), (cap_r, y - 0.002, "cap"),
        (cap_r - 0.002, y, "cap"), (0.0, y, "cap."),
    ]  # fmt: skip
    squash = np.array((1.0, 1.0, flat))
    mesh = lathe((0.0, -y), label_bands(profile, regions), bend=lambda p: p * squash)
    shape: Collision = "cylinder" if flat > 0.8 else "box"
    return Draft(mesh, texture, rng.uniform(300, 900), rng.uniform(0.5, 1.0), shape)


def _pillow(half: Float64Array, edge_m: float, power: float, rng: np.random.Generator) -> Bend:
    """Turns a flat box into a filled bag with thin seams and creases."""
    coarse = smooth_noise(int(rng.integers(1 << 30)), 0.10 * half[2], 1.2 * half[0])
    fine = smooth_noise(
        int(rng.integers(1 << 30)), rng.uniform(0.01, 0.09) * half[2], 0.35 * half[0]
    )
    waist = rng.uniform(0.0, 0.12)

    def bend(points: Float64Array) -> Float64Array:
        x, y, z = (points / half).T
        fill = np.clip(1 - np.abs(x) ** power, 0, 1) * np.clip(1 - np.abs(y) ** power, 0, 1)
        thick = edge_m / 2 + (half[2] - edge_m / 2) * np.sqrt(fill)
        # a filled bag pulls its sides in, most where it is thickest
        x = x * (1 - waist * np.clip(1 - y**2, 0, 1))
        bag = np.stack([x * half[0], y * half[1], z * thick], -1)
        return fine(coarse(bag))

    return bend


def pouch(style: Style, rng: np.random.Generator, scale: float) -> Draft:
    """Filled bags and pouches with sealed edges: snacks, refills, wipes."""
    w, h = between(rng, 0.08, 0.2) * scale, between(rng, 0.1, 0.26) * scale
    d = min(w, h) * rng.uniform(0.15, 0.5)
    press = press_for(style, rng, max(w, h))
    panels = {"front": press.panel("front", w, h), "back": press.panel("back", w, h)}
    panels["left"] = plain(style.base)
    texture, regions = pack(panels)
    for name in ("right", "top", "bottom"):
        regions[name] = regions["left"]
    bend = _pillow(np.array((w, h, d)) / 2, 0.002, rng.uniform(2.0, 6.0), rng)
    mesh = cube_grid((w, h, d), regions, bend, (22, 22, 1))
    return Draft(mesh, texture, rng.uniform(100, 500), rng.uniform(0.3, 1.0), softness=0.3)


def polybag(style: Style, rng: np.random.Generator, scale: float) -> Draft:
    """Clothing and linen folded flat under film, with a printed belly band or card."""
    w, h = rng.uniform(0.12, 0.26) * scale, rng.uniform(0.14, 0.3) * scale
    d = rng.uniform(0.015, 0.06)
    press = press_for(style, rng, max(w, h))
    fabric = cloth(rng, colours=dye(style))
    front = cv2.resize(fabric, (round(w * press.px_per_m), round(h * press.px_per_m)))
    high, wide = front.shape[:2]
    y0, y1 = sorted(int(v) for v in rng.uniform(0, high, 2))
    if y1 - y0 > 24:
        x0 = int(rng.choice((0, wide // 5, wide // 2)))
        front[y0:y1, x0:] = draw_panel(style, (y1 - y0, wide - x0), "front", rng)
    fold = (np.sin(np.linspace(0, rng.uniform(2, 9), high))[:, None, None] * 8).astype(np.float32)
    front = np.clip(front + fold, 0, 255).astype(np.uint8)
    panels = {"front": front, "back": np.ascontiguousarray(front[:, ::-1][: high // 2])}
    texture, regions = pack(panels)
    bend = _pillow(np.array((w, h, d)) / 2, 0.004, rng.uniform(4.0, 12.0), rng)
    mesh = cube_grid((w, h, d), regions, bend, (24, 24, 1))
    return Draft(mesh, texture, rng.uniform(100, 300), rng.uniform(0.3, 1.0), softness=0.35)


def blister(style: Style, rng: np.random.Generator, scale: float) -> Draft:
    """A printed card with a plastic blister, or several, in front of it."""
    w, h = rng.uniform(0.06, 0.14) * scale, rng.uniform(0.1, 0.22) * scale
    card_d, depth = 0.0015, rng.uniform(0.008, 0.03)
    count = int(rng.choice((1, 1, 1, 2, 4, 6)))
    press = press_for(style, rng, h)
    panels = {"front": press.panel("front", w, h), "back": press.panel("back", w, h)}
    panels["good"] = np.concatenate([plain(some_colour(rng), 24), plain(some_colour(rng), 24)])
    texture, regions = pack(panels)
    regions["left"] = regions["right"] = regions["top"] = regions["bottom"] = regions["back"]
    parts = [cube_grid((w, h, card_d), regions, curl(rng, w, h, 0.004), (6, 6, 1))]
    low = rng.uniform(0.35, 0.6)
    power, lit = rng.uniform(2.2, 7.0), {"front": regions["good"]}
    for number in range(count):
        cell = (0.8 * w, 0.85 * low * h / count, depth)
        middle = (0.0, -h / 2 + (number + 0.6) * low * h / count, card_d / 2 + 0.2 * depth)
        parts.append(shifted(ball(cell, lit, cells=6, power=power), middle))
    return Draft(join(parts), texture, rng.uniform(100, 500), rng.uniform(0.4, 1.0))


def tube(style: Style, rng: np.random.Generator, scale: float) -> Draft:
    """Squeeze tubes: round at the cap, flat at the crimped end."""
    r, h = rng.uniform(0.014, 0.028) * scale, rng.uniform(0.1, 0.19) * scale
    press = press_for(style, rng, h)
    texture, regions = pack(
        {"wrap": press.panel("wrap", 2 * np.pi * r, h * 0.8), "cap": plain(some_colour(rng))}
    )
    y = h / 2
    cap_r = r * rng.uniform(0.5, 0.95)
    profile = [
        (cap_r * 0.95, -y, "cap."), (cap_r, -y + 0.15 * h, "cap"), (r, -y + 0.18 * h, "cap"),
        (r, y, "wrap"), (0.0, y, "cap."),
    ]  # fmt: skip

    def crimp(points: Float64Array) -> Float64Array:
        flat = np.clip((points[:, 1] + y - 0.2 * h) / (0.8 * h), 0, 1)
        widen = 1 + 0.45 * flat
        return np.stack([points[:, 0] * widen, points[:, 1], points[:, 2] * (1 - 0.94 * flat)], -1)

    mesh = lathe((0.0, -y), label_bands(profile, regions), 24, crimp)
    return Draft(mesh, texture, rng.uniform(300, 800), rng.uniform(0.4, 1.0), softness=0.2)

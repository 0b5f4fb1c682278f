# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Products that are no printed box: soft things, irregular things, ware."""

import cv2
import numpy as np

from robollm_core.synthetic.artwork import Style, draw_panel
from robollm_core.synthetic.atlas import pack
from robollm_core.synthetic.drafts import (
    Draft,
    between,
    cloth,
    dye,
    label_bands,
    plain,
    press_for,
    some_colour,
)
from robollm_core.synthetic.meshes import (
    Float64Array,
    Mesh,
    Region,
    ball,
    cube_grid,
    join,
    lathe,
    shifted,
    smooth_noise,
)


def soft(style: Style, rng: np.random.Generator, scale: float) -> Draft:
    """Plush, loofahs, sponges, socks and rolled cloth: bent balls of fabric."""
    dims = np.sort([between(rng, 0.05, 0.2) * scale for _ in range(3)])[::-1]
    dims[2] = max(dims[2], 0.35 * dims[1])
    big = smooth_noise(int(rng.integers(1 << 30)), rng.uniform(0.0, 0.22) * dims[2], dims[0])
    small = smooth_noise(
        int(rng.integers(1 << 30)), rng.uniform(0.0, 0.06) * dims[2], 0.2 * dims[0]
    )
    skin = cloth(rng, colours=dye(style))
    panels = {"front": skin, "tag": draw_panel(style, (80, 60), "front", rng)}
    texture, regions = pack(panels)
    faces = {"front": regions["front"]}
    body = ball(dims, faces, lambda p: small(big(p)), cells=14, power=rng.uniform(2.0, 6.0))
    parts = [body]
    for _ in range(int(rng.choice((0, 0, 0, 2, 4)))):  # limbs and ears of plush
        limb = dims * rng.uniform(0.25, 0.45, 3)
        direction = rng.normal(size=3) * (1, 1, 0.4)
        spot = direction / np.linalg.norm(direction) * dims * 0.48
        parts.append(shifted(ball(limb, faces, cells=6), spot))
    if rng.random() < 0.4:
        tag = {"front": regions["tag"]}
        parts.append(shifted(cube_grid((0.05, 0.065, 0.001), tag), (0.3 * dims[0], 0, dims[2] / 2)))
    return Draft(join(parts), texture, rng.uniform(60, 300), 0.02, "ellipsoid", 0.3)


def _handle(length: float, radius: float, skin: Region, rng: np.random.Generator) -> Mesh:
    wave = rng.uniform(0.0, 0.25)
    profile = [
        (radius * 0.8, -length / 2, "skin."),
        *(
            (radius * (1 + wave * np.sin(9 * t)), length * (t - 0.5), "skin")
            for t in np.linspace(0.04, 0.96, 9)
        ),
        (0.0, length / 2, "skin."),
    ]
    return lathe((0.0, -length / 2), label_bands(profile, {"skin": skin}), 12)


def tool(style: Style, rng: np.random.Generator, scale: float) -> Draft:
    """Brushes, torches, scissors, spoons: a long handle and a head."""
    length, radius = rng.uniform(0.1, 0.3) * scale, rng.uniform(0.006, 0.018)
    colours = dye(style)
    head_skin, handle = cloth(rng, 64, colours), plain(some_colour(colours))
    texture, regions = pack(
        {"handle": handle, "head": head_skin, "grip": plain(some_colour(colours))}
    )
    parts = [_handle(length, radius, regions["handle"], rng)]
    head = np.array((rng.uniform(2, 6), rng.uniform(3, 7), rng.uniform(1.2, 5))) * radius
    lit = {"front": regions["head"]}
    kind = rng.integers(3)
    if kind == 0:
        fuzz = smooth_noise(int(rng.integers(1 << 30)), 0.15 * head[2], 0.3 * head[0])
        parts.append(shifted(ball(head, lit, fuzz, 10), (0, length / 2, 0)))
    elif kind == 1:
        parts.append(shifted(cube_grid(head, lit, round_m=0.003), (0, length / 2, 0)))
    else:  # two loops, as scissors have
        for side in (-1, 1):
            loop = _ring(radius * 2.2, radius * 0.7, regions["grip"])
            parts.append(shifted(loop, (side * radius * 2.3, length / 2, 0)))
    return Draft(join(parts), texture, rng.uniform(100, 400), rng.uniform(0.2, 1.0))


def _ring(radius: float, thick: float, skin: Region) -> Mesh:
    """A torus lying in the xy plane."""

    def lie(points: Float64Array) -> Float64Array:
        return np.stack([points[:, 0], -points[:, 2], points[:, 1]], -1)

    turns = np.linspace(np.pi, -np.pi, 9)
    profile = [(radius - thick * np.cos(t), thick * np.sin(t), "skin") for t in turns]
    profile[-1] = profile[0]
    start = profile[0][:2]
    return lathe(start, label_bands(profile[1:], {"skin": skin}, start), 16, lie)


def ware(style: Style, rng: np.random.Generator, scale: float) -> Draft:
    """Cups, bowls, bins, tape rolls: open or hollow turned shapes."""
    r, h = between(rng, 0.03, 0.075) * scale, between(rng, 0.02, 0.14) * scale
    wall = rng.uniform(0.05, 0.45) * r
    press = press_for(style, rng, max(2 * np.pi * r * 0.6, h))
    colours = dye(style)
    printed = rng.random() < 0.3
    out = press.panel("wrap", 2 * np.pi * r, h) if printed else cloth(rng, 96, colours)
    texture, regions = pack({"out": out, "in": plain(some_colour(colours))})
    y, taper = h / 2, rng.uniform(0.6, 1.0)
    if rng.random() < 0.35:  # a roll: the hole goes through
        profile = [
            (r, -y, "in"), (r, y, "out"), (r - wall, y, "in"), (r - wall, -y, "in"),
        ]  # fmt: skip
        mesh = lathe((r - wall, -y), label_bands(profile, regions, (r - wall, -y)))
    else:
        wall = min(wall, 0.12 * r)
        profile = [
            (r * taper, -y, "in."), (r, y, "out"), (r - wall, y, "in"),
            (r * taper - wall, -y + wall, "in"), (0.0, -y + wall, "in."),
        ]  # fmt: skip
        mesh = lathe((0.0, -y), label_bands(profile, regions))
    return Draft(mesh, texture, rng.uniform(80, 400), rng.uniform(0.1, 1.0), "cylinder")


def block(style: Style, rng: np.random.Generator, scale: float) -> Draft:
    """Soap bars, sponges, erasers, wrapped bricks: rounded bricks with a sleeve."""
    w, h = between(rng, 0.05, 0.13) * scale, between(rng, 0.06, 0.16) * scale
    d = min(w, h) * rng.uniform(0.25, 0.7)
    press = press_for(style, rng, max(w, h))
    sleeve = press.panel("front", w, h)
    if rng.random() < 0.5:
        bare = cv2.resize(cloth(rng, 96), (sleeve.shape[1], sleeve.shape[0]))
        edge = int(sleeve.shape[0] * rng.uniform(0.12, 0.35))
        sleeve[:edge], sleeve[-edge:] = bare[:edge], bare[-edge:]
    panels = {"front": sleeve, "left": press.panel("side", d, h), "top": press.panel("top", w, d)}
    texture, regions = pack(panels)
    regions["right"], regions["bottom"] = regions["left"], regions["top"]
    bend = smooth_noise(int(rng.integers(1 << 30)), rng.uniform(0, 0.05) * d, w)
    rounding = rng.uniform(0.1, 0.45) * d
    mesh = cube_grid((w, h, d), regions, bend, (8, 8, 4), rounding)
    return Draft(mesh, texture, rng.uniform(50, 900), rng.uniform(0.0, 0.8), softness=0.05)

# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
from collections import Counter

import numpy as np
import pytest

from robollm_core.synthetic import meshes
from robollm_core.synthetic.atlas import pack
from robollm_core.synthetic.products import FAMILIES, make_product
from robollm_core.synthetic.tote import random_tote, tote_mesh

FRONT = {"front": (0.0, 0.0, 1.0, 1.0)}


def edge_uses(mesh):
    """How often each directed edge between places is used."""
    places = {}
    number = [places.setdefault(tuple(np.round(v, 6)), len(places)) for v in mesh.vertices.tolist()]
    uses = Counter()
    for a, b, c in mesh.faces.tolist():
        for start, end in ((a, b), (b, c), (c, a)):
            uses[number[start], number[end]] += 1
    return uses


def assert_closed(mesh):
    uses = edge_uses(mesh)
    # every edge is walked once in each direction by its two faces
    assert all(uses[b, a] == count for (a, b), count in uses.items())


def one_of_each_family():
    found = {}
    for seed in range(0, 4000, 4):
        product = make_product(seed)
        found.setdefault(product.family, product)
        if len(found) == len(FAMILIES):
            return list(found.values())
    raise AssertionError(f"only {sorted(found)} of {sorted(FAMILIES)} came up")


@pytest.mark.parametrize("product", one_of_each_family(), ids=lambda p: p.family)
def test_every_family_is_closed_outward_and_textured_inside_its_texture(product):
    mesh = product.mesh
    assert_closed(mesh)
    assert meshes.signed_volume(mesh) > 0
    assert mesh.uv.min() >= 0 and mesh.uv.max() <= 1
    np.testing.assert_allclose(np.linalg.norm(mesh.normals, axis=1), 1, atol=1e-5)
    low, high = mesh.vertices.min(axis=0), mesh.vertices.max(axis=0)
    np.testing.assert_allclose(low, -high, atol=1e-5)
    np.testing.assert_allclose(high - low, product.dims_m, atol=1e-6)
    assert min(product.dims_m) > 0.001 and max(product.dims_m) < 0.5


def test_there_are_at_least_six_families():
    assert len(FAMILIES) >= 6


def test_a_box_has_the_volume_and_the_normals_of_a_box():
    mesh = meshes.cube_grid((0.1, 0.2, 0.3), FRONT)
    assert meshes.signed_volume(mesh) == pytest.approx(0.006, rel=1e-5)
    # an edge of 90 degrees stays sharp: every normal is along one axis
    assert np.allclose(np.sort(np.abs(mesh.normals), axis=1), (0, 0, 1), atol=1e-6)


def test_an_ellipsoid_has_the_volume_and_the_normals_of_one():
    half = np.array((0.05, 0.07, 0.09))
    mesh = meshes.ball(half * 2, FRONT, cells=24)
    assert meshes.signed_volume(mesh) == pytest.approx(4 / 3 * np.pi * half.prod(), rel=0.01)
    expected = mesh.vertices / half**2
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    assert (mesh.normals * expected).sum(axis=1).min() > 0.995


def test_a_lathe_turns_a_cylinder_whose_label_reads_upright_from_the_front():
    label, end = (0.0, 0.0, 0.5, 1.0), (0.5, 0.0, 1.0, 1.0)
    bands = [
        meshes.Band(0.03, -0.05, end, disc=True),
        meshes.Band(0.03, 0.05, label),
        meshes.Band(0.0, 0.05, end, disc=True),
    ]
    mesh = meshes.lathe((0.0, -0.05), bands, segments=200)
    assert_closed(mesh)
    assert meshes.signed_volume(mesh) == pytest.approx(np.pi * 0.03**2 * 0.1, rel=1e-3)
    side = np.abs(mesh.normals[:, 1]) < 0.5
    facing = side & (mesh.vertices[:, 2] > 0.0299)
    assert np.allclose(mesh.uv[facing, 0], 0.25, atol=0.02)  # the middle of the label
    up = side & (mesh.vertices[:, 1] > 0.049)
    assert np.allclose(mesh.uv[up, 1], 0.0)  # the first row is the upper edge
    right = side & (mesh.vertices[:, 0] > 0.0299)
    assert np.allclose(mesh.uv[right, 0], 0.375, atol=0.02)


def test_a_bend_of_noise_keeps_a_mesh_closed_and_moves_it():
    bend = meshes.smooth_noise(3, 0.01, 0.1)
    flat, bent = (meshes.cube_grid((0.2, 0.2, 0.1), FRONT, b) for b in (None, bend))
    assert_closed(bent)
    assert np.abs(flat.vertices - bent.vertices).max() > 0.003


def test_faces_without_area_are_dropped():
    mesh = meshes.make_mesh(
        np.array([(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 0)], float),
        np.array([(0, 1, 2), (0, 3, 1)]),
        np.zeros((4, 2)),
    )
    assert mesh.faces.tolist() == [[0, 1, 2]]


@pytest.mark.parametrize("seed", range(6))
def test_a_tote_is_open_above_and_shows_its_inside(seed):
    tote = random_tote(np.random.default_rng(seed))
    mesh = tote_mesh(tote)
    assert meshes.signed_volume(mesh) > 0
    inside = np.abs(mesh.vertices[:, 2]) < 1e-6
    assert inside.any() and (mesh.normals[inside][:, 2] > 0.9).all()
    assert mesh.dims_m[2] == pytest.approx(tote.height_m, abs=0.02)


def test_panels_lie_in_the_texture_where_the_atlas_says():
    rng = np.random.default_rng(0)
    panels = {
        name: rng.integers(0, 256, size, dtype=np.uint8)
        for name, size in {"a": (40, 90, 3), "b": (64, 20, 3), "c": (9, 9, 3)}.items()
    }
    texture, regions = pack(panels)
    high, wide = texture.shape[:2]
    for name, panel in panels.items():
        u0, v0, u1, v1 = regions[name]
        rows = slice(round(v0 * high), round(v1 * high))
        np.testing.assert_array_equal(texture[rows, round(u0 * wide) : round(u1 * wide)], panel)

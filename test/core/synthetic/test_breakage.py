# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
import numpy as np
import pytest

from robollm_core.synthetic import breakage
from robollm_core.synthetic.breakage import DAMAGES, breakable, damaged
from robollm_core.synthetic.damage import change
from robollm_core.synthetic.grips import grip
from robollm_core.synthetic.products import FAMILIES, make_catalogue
from robollm_core.synthetic.studio import Studio
from robollm_core.synthetic.views import tray_shot


@pytest.fixture(scope="module")
def examples():
    """One damaged product of each kind of damage: {damage: (whole, damaged)}."""
    found = {}
    rng = np.random.default_rng(0)
    for product in make_catalogue("train", 31, 60):
        if breakable(product):
            broken, damage = damaged(product, rng)
            found.setdefault(damage, (product, broken))
    return found


def test_every_damage_happens(examples):
    assert set(examples) == set(DAMAGES)


def test_most_families_break():
    assert {"carton", "pouch", "can", "bottle"} <= set(breakage._KINDS) <= set(FAMILIES)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_product_is_a_sound_product(examples, damage):
    whole, broken = examples[damage]
    mesh = broken.mesh
    assert np.isfinite(mesh.vertices).all()
    assert mesh.faces.min() >= 0
    assert mesh.faces.max() < len(mesh.vertices)
    assert mesh.uv.min() >= 0
    assert mesh.uv.max() <= 1
    used = np.unique(mesh.faces)
    assert np.allclose(np.linalg.norm(mesh.normals[used], axis=1), 1, atol=1e-3)
    assert (broken.item_id, broken.dims_m, broken.weight_kg, broken.text) == (
        whole.item_id, whole.dims_m, whole.weight_kg, whole.text,
    )  # fmt: skip
    # nothing flies off
    assert np.abs(mesh.vertices).max() < 2.5 * max(whole.dims_m)


@pytest.mark.parametrize("damage", DAMAGES)
def test_the_whole_print_is_kept(examples, damage):
    whole, broken = examples[damage]
    height, width = whole.texture.shape[:2]
    kept = (broken.texture[:height, :width] == whole.texture).all(axis=2).mean()
    assert kept > 0.6
    assert broken.texture.shape[0] > height  # the patches of the inside


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damage_can_be_seen(examples, damage):
    whole, broken = examples[damage]
    most = 0.0
    with Studio([whole, broken], (128, 128)) as studio:
        for seed in range(8):  # from at least one of several sides

            def taken(item, seed=seed):
                rng = np.random.default_rng(seed)
                shot = tray_shot(grip([(0, whole.mesh)], rng), rng)
                (thing,) = shot.things
                things = [type(thing)(item, thing.position_m, thing.rotation, 1)]
                return studio.shoot(type(shot)(things, shot.props, shot.lights, shot.camera))

            most = max(most, change(taken(0), taken(1), 1))
            assert change(taken(0), taken(0), 1) == 0.0
    assert most > 0.06


def test_same_generator_same_damage(examples):
    whole, _ = examples["torn_bag"]
    first, second = (damaged(whole, np.random.default_rng(5)) for _ in range(2))
    assert first[1] == second[1]
    assert (first[0].mesh.vertices == second[0].mesh.vertices).all()
    assert (first[0].texture == second[0].texture).all()
    other, _ = damaged(whole, np.random.default_rng(6))
    assert other.mesh.vertices.shape != first[0].mesh.vertices.shape or not np.array_equal(
        other.mesh.vertices, first[0].mesh.vertices
    )


def test_refining_keeps_the_surface():
    product = make_catalogue("train", 31, 1)[0]
    fine = breakage._refined(product.mesh)
    assert len(fine.faces) == 4 * len(product.mesh.faces)

    def area(mesh):
        a, b, c = (mesh.vertices[mesh.faces[:, k]].astype(float) for k in range(3))
        return np.linalg.norm(np.cross(b - a, c - a), axis=1).sum() / 2

    assert area(fine) == pytest.approx(area(product.mesh), rel=1e-5)
    assert np.allclose(fine.vertices.min(axis=0), product.mesh.vertices.min(axis=0))


def test_the_flaps_of_an_open_box_stand_off(examples):
    whole, broken = examples["open_flap"]
    half = np.array(whole.dims_m) / 2
    outside = np.abs(broken.mesh.vertices) > half + 0.004
    assert outside.any()
    assert not (np.abs(whole.mesh.vertices) > half + 0.004).any()

# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Every objective by name, from a batch of pairs to a trained network."""

import math
import pickle
from dataclasses import replace

import numpy as np
import pytest
import small_sets
import torch
from torch.nn import functional

from robollm_core.defects.model import build_defects
from robollm_core.errors import ConfigError
from robollm_core.identification.model import build_identification, load_graph
from robollm_core.training import defects, identification
from robollm_core.training.checkpoint import load_checkpoint
from robollm_core.training.classes import CLASS_OBJECTIVES, ClassObjective
from robollm_core.training.losses import contrastive_loss, row_contrastive_loss
from robollm_core.training.objectives import OBJECTIVES, Pairs, build_objective
from robollm_core.training.recipe import build_recipe
from robollm_core.training.run import train

SMALL = {"image_px": 32, "cache_px": 40, "steps": 4, "validate_every": 0.5}
PICKS = {**SMALL, "embedding": 16, "fusion": 128, "batch_items": 4, "group": 2, "references": 2}
IMAGES = {**SMALL, "batch": 8}
SCALE = torch.tensor(2.0)


pytestmark = pytest.mark.usefixtures("narrow_encoder")


@pytest.fixture(scope="module")
def picks(tmp_path_factory):
    return small_sets.write_picks(tmp_path_factory.mktemp("picks"))


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return small_sets.write_defects(tmp_path_factory.mktemp("defects"))


def pairs(query_items, reference_items, classes=None, seed=0):
    generator = torch.Generator().manual_seed(seed)
    rows = len(query_items) + len(reference_items)
    z = functional.normalize(torch.randn(rows, 8, generator=generator), dim=1).requires_grad_()
    items = torch.tensor([*query_items, *reference_items])
    classes = items if classes is None else torch.tensor(classes)
    count = len(query_items)
    made = Pairs(
        z[:count], z[count:], items[:count], items[count:], classes[:count], classes[count:]
    )
    return made, z


def objective_named(name, classes=8):
    torch.manual_seed(1)
    made = build_objective(name, classes, 8)
    if name == "cluster":
        made.refresh(functional.normalize(torch.randn(classes, 8), dim=1))
    return made


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize(
    ("query_items", "reference_items"),
    [
        ([0, 0, 1, 1, 2, 2], [0, 1, 2]),
        ([3, 3, 3], [3, 3]),  # one item
        ([0, 1, 2], [4, 5, 6]),  # nothing that matches
        ([0, 0, 1], [5, 5]),
    ],
)
def test_any_batch_gives_a_finite_loss_and_gradient(name, query_items, reference_items):
    batch, z = pairs(query_items, reference_items)
    loss = objective_named(name)(batch, SCALE)
    loss.backward()
    assert loss.shape == () and bool(loss.isfinite()) and bool(z.grad.isfinite().all())


@pytest.mark.parametrize("name", [name for name in OBJECTIVES if name not in ("clce", "cluster")])
def test_a_batch_without_a_positive_is_an_exact_zero(name):
    batch, z = pairs([0, 1, 2], [4, 5, 6])
    loss = objective_named(name)(batch, SCALE)
    loss.backward()
    assert float(loss.detach()) == 0.0 and not z.grad.any()


@pytest.mark.parametrize("name", ["clce", "cluster"])
def test_disguised_rows_have_no_class(name):
    hidden = [-1] * 6
    batch, z = pairs([0, 1, 2], [4, 5, 6], hidden)
    loss = objective_named(name)(batch, SCALE)
    loss.backward()
    assert float(loss.detach()) == 0.0 and not z.grad.any()
    shown, z = pairs([0, 1, 2], [4, 5, 6], [-1, 1, -1, -1, -1, -1])
    objective_named(name)(shown, SCALE).backward()
    assert z.grad.any(dim=1).tolist() == [False, True, False, False, False, False]


def test_by_row_the_nth_view_meets_the_nth_reference():
    batch, _ = pairs([7, 7, 7, 5, 6], [5, 7, 7])
    partner = torch.tensor([1, 2, 1, 0])  # item 6 has none
    wanted = row_contrastive_loss(batch.query[:4], batch.reference[partner], SCALE)
    assert torch.equal(objective_named("infonce_rows")(batch, SCALE), wanted)


def test_a_temperature_of_the_recipe_replaces_the_learned_one():
    batch, _ = pairs([0, 0, 1], [0, 1])
    fixed = build_objective("infonce", 8, 8, tau=0.2)(batch, SCALE)
    rows = (batch.query, batch.reference, batch.query_items, batch.reference_items)
    assert torch.equal(fixed, contrastive_loss(*rows, torch.tensor(math.log(5.0))))
    learned = build_objective("infonce", 8, 8)(batch, SCALE)
    assert torch.equal(learned, contrastive_loss(*rows, SCALE))


@pytest.mark.parametrize("name", OBJECTIVES)
def test_what_fits_better_costs_less(name):
    batch, _ = pairs([0, 0, 1, 1, 2, 2], [0, 1, 2], seed=3)
    made = objective_named(name)
    centres = made.centres[:3] if name == "cluster" else torch.eye(8)[:3]
    good = replace(batch, query=centres[batch.query_items], reference=centres)
    bad = replace(good, query=centres[(batch.query_items + 1) % 3])
    with torch.no_grad():
        assert float(made(good, SCALE)) < float(made(bad, SCALE))


def test_unknown_names_are_told_the_known_ones(picks, images, tmp_path):
    for key in ("objective", "sampler", "head", "label_noise_kind"):
        with pytest.raises(ConfigError, match="infonce_rows|pk|mlp|lookalike"):
            train("identification", {**PICKS, key: "other"}, picks, tmp_path / key)
    for key in ("objective", "head"):
        with pytest.raises(ConfigError, match="scl_rhe|mlp"):
            train("defects", {**IMAGES, key: "other"}, images, tmp_path / f"d{key}")
    with pytest.raises(ConfigError, match="tau"):
        build_objective("infonce", 2, 2, tau=-1.0)
    with pytest.raises(ConfigError, match="no temperature"):
        build_objective("triplet", 2, 2, tau=0.1)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_identification_trains_with_every_objective(name, picks, tmp_path):
    recipe = {**PICKS, "objective": name, "head": "mlp", "keep_patches": 0.5}
    best = train("identification", recipe, picks, tmp_path)
    content = load_checkpoint(best, "identification")
    network = build_identification(content["recipe"]["model"])
    network.load_state_dict(content["model"])  # and nothing of the objective ships
    assert content["recipe"]["model"]["head"] == "mlp" and "projection.2.weight" in content["model"]
    assert isinstance(load_graph(best).projection, torch.nn.Sequential)  # as the exporter does
    rows = (line.split(",") for line in (tmp_path / "log.csv").read_text().splitlines())
    losses = [float(row[3]) for row in rows if row[2] in ("single", "fused")]
    assert len(losses) == 8 and np.isfinite(losses).all()


@pytest.mark.parametrize("sampler", ["random", "pk"])
def test_identification_trains_with_every_sampler(sampler, picks, tmp_path):
    train("identification", {**PICKS, "sampler": sampler, "views_per_item": 5}, picks, tmp_path)
    log = (tmp_path / "log.csv").read_text()
    assert log.count("single") == 4 and log.count("fused") >= 4


def test_two_views_cannot_feed_the_three_view_loss(picks, tmp_path):
    recipe = {**PICKS, "sampler": "pk", "views_per_item": 2}
    with pytest.raises(ConfigError, match="fused_weight"):
        train("identification", recipe, picks, tmp_path)
    train("identification", {**recipe, "fused_weight": 0.0}, picks, tmp_path)


def weights(path):
    return load_checkpoint(path, "")["model"]


@pytest.mark.parametrize("name", ["clce", "cluster"])
def test_objectives_with_a_memory_resume_to_the_identical_state(name, picks, tmp_path):
    recipe = {**PICKS, "objective": name, "cluster_times": 2, "save_minutes": 0.0}
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    train("identification", recipe, picks, whole)
    loss = identification.IdentificationTask.loss

    def stopping(self, step, *others, **options):
        if step == 3:
            raise KeyboardInterrupt
        return loss(self, step, *others, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(identification.IdentificationTask, "loss", stopping)
        with pytest.raises(KeyboardInterrupt):
            train("identification", recipe, picks, broken)
    torch.manual_seed(99)
    train("identification", recipe, picks, broken, resume=True)
    for file in ("best.pt", "last.pt"):
        one, two = weights(whole / file), weights(broken / file)
        assert one.keys() == two.keys()
        assert all(torch.equal(one[key], two[key]) for key in one)
    states = [load_checkpoint(run / "last.pt", "")["task"]["clusters"] for run in (whole, broken)]
    assert states[0]["made"] == states[1]["made"] == (2 if name == "cluster" else 0)
    assert torch.equal(states[0]["labels"], states[1]["labels"])


def test_noise_and_share_are_told_with_the_figures(picks, tmp_path):
    recipe = {**PICKS, "train_share": 0.5, "label_noise": 0.5}
    recipe = {**recipe, "label_noise_kind": "lookalike"}
    best = train("identification", recipe, picks, tmp_path)
    checked = build_recipe(identification.IdentificationRecipe, recipe)
    task = identification.IdentificationTask(checked, picks, tmp_path / "again")
    metrics = load_checkpoint(best, "identification")["metrics"]
    assert metrics["train_items"] == 4.0
    assert metrics["changed_labels"] == task.labels.changed > 0
    plain = train("identification", PICKS, picks, tmp_path / "plain")
    assert "changed_labels" not in load_checkpoint(plain, "")["metrics"]


@pytest.mark.parametrize(
    ("given", "scale"),
    [({"objective": "lacvit"}, 10.0), ({"objective": "clce"}, 2.0), ({"tau": 0.2}, 5.0)],
)
def test_the_network_ships_the_temperature_it_was_trained_at(given, scale, picks, tmp_path):
    best = train("identification", {**PICKS, **given}, picks, tmp_path)
    assert float(weights(best)["log_scale"].exp()) == pytest.approx(scale, rel=1e-6)


def test_a_temperature_that_is_trained_is_not_fixed(picks, tmp_path):
    recipe = {**PICKS, "objective": "lacvit", "label_weight": 1.0}
    learned = weights(train("identification", recipe, picks, tmp_path))["log_scale"].exp()
    assert abs(float(learned) - 10.0) > 0.1


def test_settings_without_a_head_are_those_of_a_linear_one():
    settings = {"size": "tiny", "img_size": 32, "fusion": 128}
    for make, given in (
        (build_identification, settings),
        (build_defects, {"size": "tiny", "img_size": 32}),
    ):
        old, new = make(given).state_dict(), make({**given, "head": "linear"}).state_dict()
        assert old.keys() == new.keys() and {"projection.weight", "head.weight"} & old.keys()
        with pytest.raises(ConfigError, match="linear, mlp"):
            make({**given, "head": "other"})


@pytest.mark.parametrize("name", CLASS_OBJECTIVES)
@pytest.mark.parametrize("head", ["linear", "mlp"])
def test_defects_train_with_every_objective(name, head, images, tmp_path):
    recipe = {**IMAGES, "objective": name, "head": head, "keep_patches": 0.5}
    content = load_checkpoint(train("defects", recipe, images, tmp_path), "defects")
    build_defects(content["recipe"]["model"]).load_state_dict(content["model"])
    rows = (line.split(",") for line in (tmp_path / "log.csv").read_text().splitlines())
    losses = [float(row[3]) for row in rows if row[2] == "loss"]
    assert len(losses) == 4 and np.isfinite(losses).all()


@pytest.mark.parametrize("name", CLASS_OBJECTIVES)
@pytest.mark.parametrize("labels", [[0, 1, 2], [1, 1, 1], [0, 0, 2]])
def test_a_class_objective_stands_any_batch(name, labels):
    feature = torch.randn(3, 5, generator=torch.Generator().manual_seed(0)).requires_grad_()
    logits = feature[:, :3]
    loss = ClassObjective(name, torch.ones(3))(feature, logits, torch.tensor(labels))
    loss.backward()
    assert bool(loss.isfinite()) and bool(feature.grad.isfinite().all())


@pytest.mark.parametrize("wrong", [{"smoothing": 1.0}, {"gamma": -1.0}])
def test_numbers_of_a_class_objective_are_checked(wrong):
    with pytest.raises(ConfigError, match="gamma"):
        ClassObjective("ce", torch.ones(3), **wrong)


@pytest.fixture(scope="module")
def many_picks(tmp_path_factory):
    """30 train and 20 val items, two picks each, all of a part in one container."""
    root = tmp_path_factory.mktemp("many")
    split = {}
    for part, numbers in {"train": range(30), "val": range(30, 50)}.items():
        names = [f"P{number:02d}" for number in numbers]
        split[f"{part}set"] = [f"{name}-{turn}" for name in names for turn in range(2)]
        for number, name in zip(numbers, names, strict=True):
            for turn in range(2):
                small_sets.write_pick(root, f"{name}-{turn}", number, names)
                photo = np.full((80, 60, 3), 255, np.uint8)
                photo[10:70, 10:50] = small_sets.print_of(number)
                small_sets.write_jpeg(root / "Reference_Images" / name / f"{turn}.jpg", photo)
    (root / "train-test-split.pickle").write_bytes(pickle.dumps(split))
    return root


@pytest.mark.slow
@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_objective_learns_what_can_be_learnt(name, many_picks, tmp_path):
    recipe = {**PICKS, "objective": name, "batch_items": 16, "strength": 0.3, "disguise": 0.0}
    recipe |= {"steps": 200, "rate": 3e-3, "validate_every": 0.1, "ema": 0.9}
    checked = build_recipe(identification.IdentificationRecipe, recipe)
    task = identification.IdentificationTask(checked, many_picks, tmp_path)
    with torch.inference_mode():
        start = task.validate(task.network.eval())["select"]
    best = train("identification", recipe, many_picks, tmp_path)
    assert load_checkpoint(best, "identification")["metrics"]["select"] > start + 0.05


@pytest.fixture(scope="module")
def many_images(tmp_path_factory):
    root = tmp_path_factory.mktemp("many")
    return small_sets.write_defects(root, {"train": 240, "val": 80})


@pytest.mark.slow
@pytest.mark.parametrize("name", CLASS_OBJECTIVES)
def test_every_class_objective_learns_what_can_be_learnt(name, many_images, tmp_path):
    recipe = {**IMAGES, "objective": name, "steps": 250, "rate": 3e-3, "strength": 0.2}
    recipe |= {"disguise": 0.0, "ema": 0.9, "batch": 24}
    task = defects.DefectTask(build_recipe(defects.DefectRecipe, recipe), many_images, tmp_path)
    with torch.inference_mode():
        start = task.validate(task.network.eval())["select"]
    best = train("defects", recipe, many_images, tmp_path)
    assert load_checkpoint(best, "defects")["metrics"]["select"] > max(start + 0.1, 0.7)

# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Networks on runtimes in turns: all rows there, ratios and shares as the times say."""

import json
import math

import colour_cell
import pytest
import torch
from torch import nn

from robollm_core.bench import eager, engines, networks
from robollm_core.bench.engines import Request, measure
from robollm_core.bench.networks import Choice, find_network
from robollm_core.bench.plots import draw, markdown, table
from robollm_core.bench.timing import Plan
from robollm_core.config import RuntimeConfig
from robollm_core.errors import ArtifactError, ConfigError, DependencyError
from robollm_core.runtime.artifact import load_artifact, write_artifact

KEYS = {
    "stage", "artifact", "size", "runtime", "precision", "batch", "ms", "ms_p99", "ms_min",
    "spread", "disturbed", "runs", "items_per_s", "gflop", "gflops", "peak_gflops",
    "peak_fraction", "ratio_to_torch", "ratio_to_torch_compile", "weights", "image_hw",
    "description",
}  # fmt: skip


class Product(nn.Module):
    """8 x 8 RGB images to 3 numbers: 8 * 8 * 3 * 3 multiply-accumulates each."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(8 * 8 * 3, 3)

    def forward(self, images):
        return self.linear(images.float().flatten(1)).softmax(-1)


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A folder with a classifier of one product, whose module torch can build."""
    from robollm_core.export.onnx import GraphPlan, build_graph

    path = tmp_path / "defects.onnx"
    plan = GraphPlan(
        {"images": torch.zeros(2, 8, 8, 3, dtype=torch.uint8)}, ("probabilities",), True
    )
    network = build_graph(Product().eval(), plan)
    import onnx

    spec = networks.spec_of(onnx.load_from_string(network))
    write_artifact(path, network, networks.Sidecar("defects", spec, recipe={"encoder": "tiny"}))
    monkeypatch.setattr(networks, "_module", lambda stage, recipe: Product())
    return tmp_path


def ask(models, **values):
    settings = {"runtimes": ("onnx", "torch"), "precisions": ("fp32",), "peak_sizes": (16,)}
    settings |= {"batches": (1, 3), "threads": 1, "plan": Plan(3, 5.0, 0)}
    return measure(Request(models=models, stages=("defects",), **{**settings, **values}))


def test_rows_hold_times_work_peaks_and_ratios(small):
    figures = ask(small)
    assert json.loads(json.dumps(figures, allow_nan=False))["rows"] == figures["rows"]
    rows = {(row["runtime"], row["batch"]): row for row in figures["rows"]}
    assert rows.keys() == {(r, b) for r in ("onnx", "torch") for b in (1, 3)}
    for (_, batch), row in rows.items():
        assert row.keys() == KEYS and row["size"] == "tiny" and row["stage"] == "classifier"
        assert row["gflop"] == pytest.approx(2e-9 * batch * 8 * 8 * 3 * 3, abs=1e-4)
        assert row["items_per_s"] == pytest.approx(1e3 * batch / row["ms"], abs=1e-3)
        assert row["ms_min"] <= row["ms"] <= row["ms_p99"]
        assert row["peak_gflops"] == figures["peaks"]["fp32"]["gflops"] > 0
        reference = rows["torch", batch]["ms"]
        assert row["ratio_to_torch"] == pytest.approx(reference / row["ms"], rel=1e-2)
        assert row["ratio_to_torch_compile"] is None
    assert {"cpu", "load", "load_end", "versions", "flags"} <= figures["machine"].keys()
    assert "multiply-accumulate" in figures["counts"] and figures["settings"]["batches"] == (1, 3)


def test_autocast_is_a_row_of_its_own_and_has_its_own_peak(small):
    figures = ask(small, runtimes=("torch",), precisions=(), batches=(1,))
    assert [row["precision"] for row in figures["rows"]] == ["fp32", "bf16"]
    assert figures["peaks"].keys() == {"fp32", "bf16"}
    assert "autocast" in figures["rows"][1]["description"]


def test_a_runtime_that_fails_gives_a_row_with_its_error(small, monkeypatch):
    def broken(module):
        raise RuntimeError("no compiler\nin this place")

    monkeypatch.setattr(eager, "compiled", broken)
    figures = ask(small, runtimes=("onnx", "torch-compile", "tensorrt"), batches=(1,))
    good, compiled, absent = figures["rows"]
    assert good["ms"] > 0 and good["ratio_to_torch_compile"] is None
    assert compiled["error"] == "RuntimeError: no compiler" and "ms" not in compiled
    assert absent["error"] and "ms" not in absent
    for text in (table(figures), markdown(figures)):
        assert "RuntimeError: no compiler" in text
    head, first, failed = table(figures).splitlines()[:3]
    # a long error widens no column
    assert head.index(" ms") < 60 and len(first) == len(head)
    assert failed.index("RuntimeError") < 60
    lines = [line for line in markdown(figures).splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in lines}) == 1
    assert draw(figures).startswith(b"\x89PNG")


def test_what_fails_while_it_runs_is_an_error_too(small, monkeypatch):
    def run(*_):
        def never():
            raise MemoryError("all of it")

        return never

    monkeypatch.setattr(eager, "torch_run", run)
    figures = ask(small, batches=(1,))
    assert figures["rows"][1]["error"] == "MemoryError: all of it"
    assert figures["rows"][0]["ratio_to_torch"] is None  # nothing to compare with


def test_a_precision_without_an_artifact_says_how_to_make_one(small):
    figures = ask(small, runtimes=("onnx",), precisions=("int8",), batches=(1,))
    assert "--precision int8" in figures["rows"][0]["error"]


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_a_built_network_is_derived_in_the_precision_asked_for(tmp_path, precision):
    config = RuntimeConfig(cache=str(tmp_path))
    network = find_network(Choice("defects", "tiny", (32, 32)), config)
    path = networks.derive(network, precision)
    assert load_artifact(path)[1].precision == precision
    again = find_network(Choice("defects", "tiny", (32, 32)), config)
    assert again.files == {**network.files, precision: path}


def test_artifacts_of_other_precisions_are_found_beside(small):
    path, sidecar = load_artifact(small / "defects.onnx")
    write_artifact(small / "defects.fp16.onnx", path.read_bytes(), sidecar)
    figures = ask(small, runtimes=("onnx",), precisions=(), batches=(1,))
    assert [row["precision"] for row in figures["rows"]] == ["fp32", "fp16"]


def test_a_network_that_takes_one_image_has_no_row_for_more(tmp_path):
    colour_cell.write_cell(tmp_path)
    request = Request(
        models=tmp_path, stages=("segmentation",), runtimes=("onnx",), batches=(1, 8),
        threads=1, peak_sizes=(16,), plan=Plan(1, 1.0, 0),
    )  # fmt: skip
    figures = measure(request)
    assert [row["batch"] for row in figures["rows"]] == [1]
    assert figures["rows"][0]["gflop"] == 0.0 and figures["rows"][0]["size"] == "other"
    assert any("batch 8 is left out" in note for note in figures["notes"])


def test_the_order_of_a_seed_repeats(small, monkeypatch):
    orders = []

    def noted(runs, plan, title):
        orders.append((list(runs), plan.seed))
        return {}

    monkeypatch.setattr(engines, "interleave", noted)
    for _ in range(2):
        assert all(row["error"] for row in ask(small)["rows"])
    assert orders[0] == orders[1]


def test_an_install_without_torch_and_onnx_still_times_the_shipped_networks(small, monkeypatch):
    monkeypatch.setattr(engines, "_here", lambda package: False)
    monkeypatch.setattr(engines, "installed", lambda: ("onnx",))
    figures = ask(small, runtimes=(), precisions=(), batches=(1,))
    (row,) = figures["rows"]
    assert row["runtime"] == "onnx" and row["ms"] > 0
    assert row["gflop"] is row["gflops"] is row["peak_fraction"] is None and not figures["peaks"]
    assert any("onnx is not installed" in note for note in figures["notes"])
    assert "onnx is not installed" in table(figures)


def test_runtimes_that_are_not_installed_are_named(monkeypatch):
    monkeypatch.setattr(engines, "installed", lambda: ("onnx", "torch"))
    notes = []
    assert engines._installed("cpu", notes) == ("onnx", "torch", "torch-compile")
    assert notes == ["not installed, so not measured: openvino"]


@pytest.mark.parametrize(
    "wrong", [{"batches": (0,)}, {"batches": ()}, {"peak_sizes": (0,)}, {"image_hw": (8, 8)}]
)
def test_requests_that_cannot_be_measured_are_refused(tmp_path, wrong):
    with pytest.raises(ConfigError):
        Request(models=tmp_path, **wrong)


def test_a_folder_without_networks_is_refused(tmp_path):
    with pytest.raises(ArtifactError, match=r"defects\.(json|onnx)"):
        ask(tmp_path)


def test_without_torch_a_larger_network_says_which_install_it_needs(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    config = RuntimeConfig(cache=str(tmp_path))
    with pytest.raises(DependencyError, match=r"'torch'.*workshop"):
        find_network(Choice("defects", "base"), config)


@pytest.mark.slow
def test_a_built_network_is_kept_and_its_weights_are_those_of_the_seed(tmp_path, monkeypatch):
    config = RuntimeConfig(cache=str(tmp_path))
    made = []
    build = networks._build
    monkeypatch.setattr(networks, "_build", lambda *words: made.append(1) or build(*words))
    choice = Choice("defects", "tiny", (32, 32))
    first, again = find_network(choice, config), find_network(choice, config)
    assert len(made) == 1 and first.files == again.files and first.weights == "random"
    assert first.spec.inputs[0].shape == (-1, 32, 32, 3)
    other = find_network(Choice("defects", "tiny", (32, 32), seed=1), config)
    assert len(made) == 2 and other.files["fp32"] != first.files["fp32"]
    digests = [load_artifact(network.files["fp32"])[1].sha256 for network in (first, other)]
    assert digests[0] != digests[1]
    # a damaged one is built anew
    first.files["fp32"].write_bytes(b"half")
    mended = find_network(choice, config)
    assert len(made) == 3 and load_artifact(mended.files["fp32"])[1].sha256 == digests[0]


def test_crops_are_square(tmp_path):
    with pytest.raises(ConfigError, match="square"):
        find_network(Choice("defects", "tiny", (32, 64)), RuntimeConfig(cache=str(tmp_path)))


def test_pictures_are_those_of_the_seed(small):
    network = find_network(Choice("defects", "tiny", models=small), RuntimeConfig())
    first, again = network.pictures(2)["images"], network.pictures(2)["images"]
    assert first.shape == (2, 8, 8, 3) and (first == again).all()
    assert not math.isclose(float(first.std()), 0.0)

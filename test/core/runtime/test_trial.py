# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The trial takes the faster runtime, trusts no nonsense, and remembers."""

import json
import logging
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from robollm_core.errors import ArtifactError, RuntimeUnavailableError
from robollm_core.runtime import processor, trial
from robollm_core.runtime.cache import Entry
from robollm_core.types import EngineSpec, TensorSpec

SPEC = EngineSpec(
    (TensorSpec("images", (-1, 8, 12, 3), "uint8"),),
    (TensorSpec("embedding", (-1, 4), "float32"),),
)
RIGHT = np.array([[0.5, -0.5, 0.5, 0.5]], np.float32)


@dataclass
class Timed:
    """An engine that takes as long as it is told."""

    ms: float
    answer: np.ndarray = field(default_factory=lambda: RIGHT)
    spec: EngineSpec = SPEC
    description: str = "timed"
    clock: list = field(default_factory=lambda: [0.0])
    seen: list = field(default_factory=list)

    def run(self, inputs):
        self.seen.append(inputs)
        self.clock[0] += self.ms / 1000.0
        return {"embedding": self.answer.copy()}


@pytest.fixture
def clock(monkeypatch):
    """A clock that only the engines advance, so that no other load is measured."""
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    return now


@pytest.fixture
def entry(tmp_path):
    return Entry(tmp_path / "trials", {"network": "abc", "threads": 2}, ".trial")


def loaders(clock, **engines):
    made = {name: replace(engine, clock=clock, seen=[]) for name, engine in engines.items()}
    return {name: lambda engine=engine: engine for name, engine in made.items()}, made


@pytest.mark.parametrize(
    ("onnx", "openvino", "taken"),
    [(4.0, 2.5, "openvino"), (4.0, 3.7, "onnx"), (4.0, 3.5, "openvino"), (2.0, 9.0, "onnx")],
)
def test_a_later_runtime_must_be_clearly_faster(clock, onnx, openvino, taken):
    offered, _ = loaders(clock, onnx=Timed(onnx), openvino=Timed(openvino))
    choice = trial.measure(offered)
    assert choice.name == taken
    assert choice.ms == {"onnx": pytest.approx(onnx), "openvino": pytest.approx(openvino)}
    assert choice.refused == {}


def test_the_reason_names_both_times(clock):
    offered, _ = loaders(clock, onnx=Timed(4.0), openvino=Timed(2.5))
    assert trial.measure(offered).told() == "auto: 2.5 ms, onnx 4 ms"


def test_engines_take_turns_on_the_same_picture(clock):
    offered, made = loaders(clock, onnx=Timed(4.0), openvino=Timed(2.5))
    trial.measure(offered)
    runs = {name: len(engine.seen) for name, engine in made.items()}
    assert runs["onnx"] == runs["openvino"] == trial.WARM_UPS + trial.MOST
    first = made["onnx"].seen[0]["images"]
    assert first.shape == (1, 8, 12, 3) and first.dtype == np.uint8 and np.ptp(first) > 50
    for engine in made.values():
        assert all((seen["images"] == first).all() for seen in engine.seen)


def test_a_slow_network_is_not_measured_for_long(clock):
    offered, made = loaders(clock, onnx=Timed(4000.0), openvino=Timed(2500.0))
    assert trial.measure(offered).name == "openvino"
    assert len(made["onnx"].seen) == trial.WARM_UPS + trial.ROUNDS


def test_one_disturbed_run_decides_nothing(clock):
    class Disturbed(Timed):
        def run(self, inputs):
            if len(self.seen) == trial.WARM_UPS + 1:
                self.clock[0] += 60.0
            return super().run(inputs)

    offered, _ = loaders(clock, onnx=Timed(4.0), openvino=Disturbed(2.5))
    assert trial.measure(offered).name == "openvino"


BAD = {
    "NaN": (np.array([[np.nan, 0, 0, 0]], np.float32), "holds NaN"),
    "shape": (np.zeros((1, 5), np.float32), "must be float32 \\(1, 4\\)"),
    "dtype": (RIGHT.astype(np.float64), "it is float64"),
    "another direction": (RIGHT[:, ::-1].copy() * [1, 1, -1, 1], "not that of"),
}


@pytest.mark.parametrize("what", BAD)
def test_a_fast_runtime_that_answers_wrongly_is_refused_with_the_reason(clock, what):
    answer, reason = BAD[what]
    answer = answer.astype(answer.dtype if what == "dtype" else np.float32)
    offered, _ = loaders(clock, onnx=Timed(4.0), openvino=Timed(0.1, answer=answer))
    choice = trial.measure(offered)
    assert choice.name == "onnx" and set(choice.ms) == {"onnx"}
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(choice.refused["openvino"])
    assert "onnx" not in choice.refused
    assert f"openvino refused: {choice.refused['openvino']}"[:60] in choice.told()


def test_what_every_runtime_answers_is_the_networks_fault_and_not_theirs(clock):
    nan = np.array([[np.nan, 1, 0, 0]], np.float32)
    offered, _ = loaders(clock, onnx=Timed(4.0, answer=nan), openvino=Timed(2.5, answer=nan))
    choice = trial.measure(offered)
    assert (choice.name, choice.refused) == ("openvino", {})


def test_the_preferred_runtime_may_be_the_wrong_one(clock):
    nan = np.array([[np.nan, 1, 0, 0]], np.float32)
    offered, _ = loaders(clock, onnx=Timed(1.0, answer=nan), openvino=Timed(2.5))
    choice = trial.measure(offered)
    assert choice.name == "openvino" and "NaN" in choice.refused["onnx"]


def test_a_runtime_that_cannot_load_it_is_refused_and_the_other_taken(clock):
    def fail():
        raise ArtifactError("has no kernel for bfloat16")

    offered, _ = loaders(clock, onnx=Timed(1.0), openvino=Timed(9.0))
    choice = trial.measure({**offered, "onnx": fail})
    assert choice.name == "openvino"
    assert choice.refused == {"onnx": "has no kernel for bfloat16"}
    with pytest.raises(RuntimeUnavailableError, match=r"onnx: has no kernel.*openvino: has no"):
        trial.measure({"onnx": fail, "openvino": fail})


def test_one_runtime_needs_no_trial(entry, clock):
    def never():
        raise AssertionError("loaded")

    choice, note = trial.choose({"onnx": never}, entry)
    assert (choice.name, choice.told(), note) == ("onnx", "auto: the only one here", "")
    assert not entry.folder.exists()


def test_the_second_start_measures_nothing(entry, clock):
    offered, made = loaders(clock, onnx=Timed(4.0), openvino=Timed(2.5))
    first = trial.choose(offered, entry)
    count = len(made["onnx"].seen)
    assert trial.choose(offered, entry) == first
    assert len(made["onnx"].seen) == count
    other = replace(entry, facts={**entry.facts, "threads": 1})
    trial.choose(offered, other)
    assert len(made["onnx"].seen) == 2 * count


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{}", b'{"name": "onnx", "ms": 3, "refused": {}}', b"\xff"]
)
def test_a_kept_answer_that_is_none_is_measured_anew(entry, clock, content):
    entry.write(content)
    offered, _ = loaders(clock, onnx=Timed(4.0), openvino=Timed(2.5))
    assert trial.choose(offered, entry)[0].name == "openvino"
    assert json.loads(entry.path.read_bytes())["name"] == "openvino"


def test_a_kept_runtime_that_is_gone_is_not_taken(entry, clock):
    entry.write(trial.Choice("abacus", {"abacus": 1.0}, {}).to_json())
    offered, _ = loaders(clock, onnx=Timed(4.0), openvino=Timed(2.5))
    assert trial.choose(offered, entry)[0].name == "openvino"


def test_a_cache_that_cannot_be_written_means_a_trial_a_start_and_is_said(tmp_path, clock, caplog):
    (tmp_path / "file").write_text("")
    entry = Entry(tmp_path / "file" / "trials", {"network": "abc"}, ".trial")
    offered, made = loaders(clock, onnx=Timed(4.0), openvino=Timed(2.5))
    with caplog.at_level(logging.WARNING):
        choice, note = trial.choose(offered, entry)
    assert (choice.name, note) == ("openvino", "; not kept")
    assert "runtime.cache" in caplog.text
    # measured once, not twice
    assert len(made["onnx"].seen) == trial.WARM_UPS + trial.MOST


def test_facts_name_the_machine(monkeypatch):
    facts = trial.machine_facts(2)
    assert facts["threads"] == 2 and facts["cores"] >= 1 and facts["cpu"]
    monkeypatch.setattr(processor, "told", lambda: {"flags": ["fpu amx_bf16"]})
    with_amx = trial.machine_facts(2)
    monkeypatch.setattr(processor, "told", lambda: {"flags": ["fpu"]})
    assert trial.machine_facts(2) != with_amx


def test_a_network_of_features_gets_numbers_and_always_the_same():
    spec = EngineSpec((TensorSpec("features", (-1, 3, 6), "float32"),), ())
    first, again = trial.trial_inputs(spec), trial.trial_inputs(spec)
    assert first["features"].shape == (1, 3, 6) and first["features"].dtype == np.float32
    np.testing.assert_array_equal(first["features"], again["features"])


def test_of_two_that_start_at_once_one_measures_and_the_other_waits(entry, monkeypatch):
    monkeypatch.setattr(trial, "SPAN_S", 0.0)
    begun, loads = threading.Barrier(2), []

    def load():
        loads.append(threading.get_ident())
        time.sleep(0.05)
        return Timed(1.0)

    def start():
        begun.wait()
        return trial.choose({"onnx": load, "openvino": load}, entry)[0].name

    with ThreadPoolExecutor(2) as pool:
        found = [pool.submit(start) for _ in range(2)]
    assert [one.result() for one in found] == [found[0].result()] * 2
    assert len(loads) == 2 and len(set(loads)) == 1

# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The bench of a start: a process of its own, phases that add up, a cold and a warm cache."""

import pytest

pytest.importorskip("onnx")
import colour_cell

from robollm_core.bench import startup
from robollm_core.bench.first_answer import PHASES
from robollm_core.bench.startup import draw, kept, measure, node_row, row, start, table, write_task
from robollm_core.config import Config, update
from robollm_core.errors import ConfigError, RobollmError


@pytest.fixture(scope="module")
def bag(tmp_path_factory):
    return colour_cell.write_bag(tmp_path_factory.mktemp("bag") / "cell.mcap", frames=1)


@pytest.fixture
def config(cell_settings, bag):
    own = {"runtime.threads": 1, "identification.reference_root": str(bag.parent)}
    return update(Config(), {**cell_settings, **own})


@pytest.mark.slow
def test_a_process_answers_and_its_phases_add_up(config, bag, tmp_path):
    found = start(config, write_task(tmp_path, bag))
    assert found["instances"] == 3
    assert sum(found[name] for name in PHASES) == pytest.approx(found["total"])
    assert all(found[name] > 0 for name in PHASES) and found["cpu"] > 0.1


@pytest.mark.slow
def test_a_process_that_fails_is_quoted(config, bag, tmp_path):
    lost = update(config, {"defects.artifact": str(tmp_path / "no.onnx")})
    with pytest.raises(RobollmError, match=r"no\.json|no\.onnx"):
        start(lost, write_task(tmp_path, bag))


def test_a_cold_start_meets_a_new_folder_and_a_warm_one_the_same(config, bag, monkeypatch):
    seen = []

    def fake(own, task):
        assert (task / "frame.jpg").is_file() and (task / "manifest.json").is_file()
        seen.append(own.runtime.cache)
        return answer(len(seen))

    monkeypatch.setattr(startup, "start", fake)
    found = measure(config, bag, 2)
    assert seen[0] == seen[1] != seen[2] == seen[3]
    assert [one["total_secs"] for one in found["rows"]] == [12.0, 18.0]  # 1, 3 and 2, 4 times 6
    with pytest.raises(ConfigError, match="from 1 run"):
        measure(config, bag, 0)


def answer(secs):
    phases = dict.fromkeys(PHASES, float(secs))
    return {**phases, "total": 6.0 * secs, "cpu": 1.0, "instances": 3, "modules": 9}


def test_the_limit_is_that_of_warm_starts_by_the_median():
    cold = row("cold", [answer(9)])
    good = row("warm", [answer(secs) for secs in (0.1, 0.3, 5.0)])
    bad = row("warm", [answer(secs) for secs in (0.1, 0.4, 0.5)])
    assert kept([cold, good, node_row([99.0])]) and not kept([cold, bad])
    assert good["total_secs"] == 1.8 and good["total_secs_min"] == 0.6


def test_rows_are_printed_and_drawn():
    rows = [row("cold", [answer(1)]), row("warm", [answer(0.2)]), node_row([2.0, 3.0])]
    lines = table(rows).splitlines()
    assert len(lines) == 4 and "references" in lines[0] and lines[3].split()[0] == "node"
    assert draw(rows).startswith(b"\x89PNG")

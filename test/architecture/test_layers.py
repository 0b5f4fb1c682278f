# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Who may import whom: the contracts stand in pyproject.toml under [tool.importlinter]."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TORCH_FREE = "What runs on the robot needs no torch"


def lint_imports(*options: str) -> subprocess.CompletedProcess[str]:
    code = "import sys; from importlinter.cli import lint_imports_command; lint_imports_command()"
    return subprocess.run(
        [sys.executable, "-c", code, "--no-cache", *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_every_contract_is_kept() -> None:
    answer = lint_imports()
    assert answer.returncode == 0, answer.stdout + answer.stderr
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    count = text.count("[[tool.importlinter.contracts]]")
    assert f"{count} kept, 0 broken" in answer.stdout


@pytest.mark.parametrize(
    ("stands", "instead", "told"),
    [
        # one layer too low: types imports errors
        (
            '  "types",\n  "files",\n  "errors",\n',
            '  "files",\n  "errors",\n  "types",\n',
            "robollm_core.types -> robollm_core.errors",
        ),
        # each door, when the contract does not know of it
        (
            '"robollm_core.runtime.onnx -> onnxruntime",',
            "",
            "robollm_core.runtime.onnx -> onnxruntime",
        ),
        (
            '"robollm_core.runtime.openvino -> openvino"',
            "",
            "robollm_core.runtime.openvino -> openvino",
        ),
        (
            '["robollm_core.runtime.factory", "robollm_core.export.stages"]',
            '["robollm_core.runtime.factory"]',
            "robollm_core.export.stages -> robollm_core.runtime.torch",
        ),
        (
            '["robollm_core.runtime.factory", "robollm_core.export.stages"]',
            '["robollm_core.export.stages"]',
            "robollm_core.runtime.factory -> robollm_core.runtime.onnx",
        ),
    ],
)
def test_a_broken_contract_is_noticed(tmp_path: Path, stands: str, instead: str, told: str) -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert text.count(stands) == 1
    (tmp_path / "pyproject.toml").write_text(text.replace(stands, instead), encoding="utf-8")
    answer = lint_imports("--config", str(tmp_path / "pyproject.toml"))
    assert answer.returncode == 1
    assert told in answer.stdout

# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Who may import whom: the contracts stand in pyproject.toml under [tool.importlinter]."""

import subprocess
import sys
from pathlib import Path

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
    assert "4 kept, 0 broken" in answer.stdout


def test_a_broken_contract_is_noticed(tmp_path: Path) -> None:
    # the same contract, one layer too low: types imports errors
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    turned = text.replace('  "types",\n  "errors",\n', '  "errors",\n  "types",\n')
    assert turned != text
    (tmp_path / "pyproject.toml").write_text(turned, encoding="utf-8")
    answer = lint_imports("--config", str(tmp_path / "pyproject.toml"))
    assert answer.returncode == 1
    assert "robollm_core.types -> robollm_core.errors" in answer.stdout

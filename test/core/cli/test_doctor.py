# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""The doctor tells the truth about this machine and names the mend."""

import json
import re
import subprocess
import sys
from pathlib import Path

import onnxruntime
import pytest

from robollm_core.cli import checks
from robollm_core.cli.checks import DEPLOY, Check, all_checks
from robollm_core.cli.doctor import describe, lacking, run, write_json
from robollm_core.cli.main import main
from robollm_core.config import Config, update
from robollm_core.errors import OutputError

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def found() -> dict[str, Check]:
    return {check.name: check for check in all_checks(Config())}


def test_it_looks_at_exactly_what_setup_py_installs() -> None:
    text = (ROOT / "setup.py").read_text(encoding="utf-8")
    listed = re.search(r"^DEPLOY = \[(.*?)^\]", text, re.MULTILINE | re.DOTALL)
    assert listed is not None
    assert sorted(re.findall(r'"([\w-]+)>=', listed[1])) == sorted(DEPLOY.values())


def test_packages_carry_their_real_versions(found: dict[str, Check]) -> None:
    assert found["onnxruntime"].detail == onnxruntime.__version__
    assert all(found[index].ok for index in DEPLOY.values())


def test_what_is_not_well_has_a_mend(found: dict[str, Check]) -> None:
    unwell = [check for check in found.values() if not check.ok and "not tried" not in check.detail]
    assert [check for check in unwell if not check.mend] == []


def test_a_missing_model_is_needed(tmp_path: Path) -> None:
    config = update(Config(), {"defects.artifact": str(tmp_path / "gone.onnx")})
    (gone,) = [check for check in all_checks(config) if check.name.endswith("gone.onnx")]
    assert (gone.ok, gone.needed) == (False, True)
    assert "gone" in gone.detail
    assert gone.mend


def test_a_missing_package_names_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rosbags", None)
    (rosbags,) = [check for check in all_checks(Config()) if check.name == "rosbags"]
    assert not rosbags.ok
    assert rosbags.mend == f"{sys.executable} -m pip install rosbags"
    assert rosbags in lacking([rosbags])


def test_a_device_that_is_not_there_is_needed_when_configured(tmp_path: Path) -> None:
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime lists CUDA")
    config = update(Config(), {"runtime.device": "cuda"})
    (cuda,) = [check for check in all_checks(config) if check.name == "onnxruntime on cuda"]
    assert not cuda.ok


def test_two_opencvs_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checks, "_installed", lambda index: True)
    (both,) = [check for check in all_checks(Config()) if check.name == "one OpenCV"]
    assert not both.ok
    assert "pip uninstall -y opencv-contrib-python opencv-python" in both.mend


def test_report_marks_what_is_needed() -> None:
    looked = [
        Check("python", "python", True, "3.11.7"),
        Check("models", "a.onnx", False, "is missing", mend="git checkout -- a.onnx"),
        Check("simulator", "mujoco", False, "is missing", needed=False, mend="pip install mujoco"),
    ]
    told = describe(looked)
    assert "  ok python  3.11.7" in told
    assert "  !! a.onnx  is missing" in told
    assert "-> git checkout -- a.onnx" in told
    assert "  -- mujoco  is missing" in told
    assert told.endswith("1 needed things are missing: !!")
    assert describe(looked[::2]).endswith("all that is needed is here")


def test_json_and_exit_code_agree(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code = main(["doctor", "--json", str(tmp_path / "findings.json")])
    told = json.loads((tmp_path / "findings.json").read_text())
    needed = [c["name"] for c in told["checks"] if c["needed"] and not c["ok"]]
    assert told["well"] == (needed == [])
    assert code == (0 if told["well"] else 1)
    assert told["version"] in capsys.readouterr().out


def test_json_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot write"):
        write_json(tmp_path / "file" / "findings.json", [])


def test_an_unknown_setting_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("runtime: {speed: fast}")
    assert main(["doctor", "--config", str(tmp_path / "config.yaml")]) == 2
    assert run.__doc__


def test_the_simulator_is_looked_at_in_a_process_of_its_own():
    # imported without its backend chosen, MuJoCo could not draw in this process any more
    look = (
        "import sys; from robollm_core.cli.checks import all_checks;"
        "from robollm_core.config import Config; list(all_checks(Config()));"
        "sys.exit('mujoco' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", look], check=False).returncode == 0

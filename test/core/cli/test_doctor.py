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
from robollm_core.config import Config, RuntimeConfig, update
from robollm_core.errors import OutputError, RuntimeUnavailableError
from robollm_core.runtime import factory, tensorrt_flavour
from robollm_core.runtime.artifact import load_artifact, write_artifact

ROOT = Path(__file__).parents[3]
STAGES = ("segmentation", "identification", "defects")


@pytest.fixture(scope="module")
def found() -> dict[str, Check]:
    return {check.name: check for check in all_checks(Config())}


def test_it_looks_at_exactly_what_setup_py_installs() -> None:
    text = (ROOT / "setup.py").read_text(encoding="utf-8")
    listed = re.search(r"^DEPLOY = \[(.*?)^\]", text, re.MULTILINE | re.DOTALL)
    assert listed is not None
    assert sorted(re.findall(r'"([\w-]+)>=', listed[1])) == sorted(DEPLOY.values())


def test_the_robot_cell_installs_nothing_that_the_simulator_or_nobody_imports() -> None:
    cell = [
        path
        for room in ("robollm_core", "robollm_ros")
        for path in (ROOT / room).rglob("*.py")
        if path.parent != ROOT / "robollm_core/synthetic"
    ]
    text = "\n".join(path.read_text(encoding="utf-8") for path in cell)
    imported = set(re.findall(r"^\s*(?:import|from) (\w+)", text, re.MULTILINE))
    assert set(DEPLOY) <= imported


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


def test_each_network_is_started_as_configured(found: dict[str, Check]) -> None:
    tried = [found[f"auto on cpu: {stage}"] for stage in STAGES]
    assert [(check.ok, check.needed) for check in tried] == [(True, True)] * 3
    # who was chosen, and why
    assert all("(auto: " in check.detail for check in tried)


def test_each_runtime_is_told_with_its_version_and_device(found: dict[str, Check]) -> None:
    onnx = found["onnx on cpu"]
    assert onnx.detail == f"onnxruntime {onnxruntime.__version__} CPUExecutionProvider"
    assert "CPUExecutionProvider" in found["onnx providers"].detail
    assert found["openvino on cpu"].detail.startswith("openvino ")
    for name in ("tensorrt", "tensorrt_rtx"):
        check = found[f"{name} on cuda"]
        assert not check.needed
        assert check.ok or check.mend


def test_a_runtime_that_is_not_installed_has_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("openvino", "tensorrt"):
        monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(sys.modules, "robollm_core.runtime.openvino", raising=False)
    tensorrt_flavour.find_flavour.cache_clear()
    found = {check.name: check for check in all_checks(Config())}
    openvino = found["openvino on cpu"]
    assert (openvino.ok, openvino.needed) == (False, False)
    assert openvino.mend == f"{sys.executable} -m pip install openvino"
    assert found["tensorrt on cuda"].mend.endswith("-m pip install tensorrt cuda-bindings")
    # auto needs no more than one of them
    assert found["auto on cpu: defects"].detail.endswith("(auto: the only one here)")


def test_torch_is_needed_when_configured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "robollm_core.runtime.torch", raising=False)
    (tmp_path / "config.yaml").write_text("runtime: {name: torch}")
    assert main(["doctor", "--config", str(tmp_path / "config.yaml")]) == 1
    capsys.readouterr()
    found = {check.name: check for check in all_checks(update(Config(), {"runtime.name": "torch"}))}
    for stage in STAGES:
        check = found[f"torch on cpu: {stage}"]
        assert check in lacking([check])
        assert "needs the Python package 'torch'" in check.detail
        assert check.mend == f"{sys.executable} -m pip install torch"
    # the other runtime is told too, as one to choose
    assert (found["onnx on cpu"].ok, found["onnx on cpu"].needed) == (True, False)


def test_a_package_that_torch_networks_need_has_its_own_mend(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def start(path: str, runtime: RuntimeConfig) -> None:
        absent = ModuleNotFoundError("No module named 'mmdet'", name="mmdet")
        raise RuntimeUnavailableError("runtime 'torch' needs 'mmdet'") from absent

    monkeypatch.setattr(factory, "load_engine", start)
    found = {check.name: check for check in all_checks(update(Config(), {"runtime.name": "torch"}))}
    assert found["torch on cpu: segmentation"].mend == "make test"


def test_torch_without_the_checkpoint_says_how_to_keep_it(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="torch is not installed: the robot cell needs none")
    path, sidecar = load_artifact(Config().defects.artifact)
    copy = tmp_path / "defects.onnx"
    write_artifact(copy, path.read_bytes(), sidecar)
    settings = {"runtime.name": "torch", "defects.artifact": str(copy)}
    found = {check.name: check for check in all_checks(update(Config(), settings))}
    check = found["torch on cpu: defects"]
    assert (check.ok, check.needed) == (False, True)
    assert "defects.pt" in check.detail
    assert check.mend == f"{sidecar.rebuild} --keep-checkpoint"


def test_an_unsound_model_is_not_tried(tmp_path: Path) -> None:
    config = update(Config(), {"defects.artifact": str(tmp_path / "gone.onnx")})
    (check,) = [check for check in all_checks(config) if check.name == "auto on cpu: defects"]
    assert (check.ok, check.needed, check.detail) == (False, False, "not tried: no sound model")


def test_a_runtime_that_breaks_in_a_way_of_its_own_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def start(path: str, runtime: RuntimeConfig) -> None:
        raise OSError("libcudart.so.12: cannot open shared object file\nmore")

    monkeypatch.setattr(factory, "load_engine", start)
    (check,) = [c for c in all_checks(Config()) if c.name == "auto on cpu: defects"]
    assert (check.ok, check.needed) == (False, True)
    assert check.detail == "OSError: libcudart.so.12: cannot open shared object file"
    assert check.mend


def test_a_device_that_is_not_there_is_needed_when_configured() -> None:
    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime lists CUDA")
    config = update(Config(), {"runtime.name": "onnx", "runtime.device": "cuda"})
    found = {check.name: check for check in all_checks(config)}
    cuda = [found[f"onnx on cuda: {stage}"] for stage in STAGES]
    assert len(lacking(cuda)) == 3
    assert all(check.mend.endswith("-m pip install onnxruntime-gpu") for check in cuda)
    assert found["onnx on cpu"].ok


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

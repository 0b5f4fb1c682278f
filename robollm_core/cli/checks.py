# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""What `robollm doctor` looks at. Each check tries the real thing and never raises."""

import importlib
import importlib.metadata
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robollm_core.cli.prerequisites import PYTHON_VERSIONS, missing, sourced_ros
from robollm_core.config import Config, RuntimeConfig
from robollm_core.errors import ArtifactError, CheckpointError, RobollmError
from robollm_core.synthetic.backend import chosen_backend, debian_package

# import name -> name on the package index
DEPLOY = {
    "filelock": "filelock",
    "jinja2": "jinja2",
    "jsonschema": "jsonschema",
    "numba": "numba",
    "numpy": "numpy",
    "onnxruntime": "onnxruntime",
    "cv2": "opencv-python-headless",
    "pycocotools": "pycocotools",
    "yaml": "pyyaml",
    "rosbags": "rosbags",
    "tqdm": "tqdm",
}
STAGES = ("segmentation", "identification", "defects")
WORKSHOP = ("torch", "mmengine", "mmcv", "mmdet", "onnx")
MESSAGES = ("diagnostic_msgs", "lifecycle_msgs", "sensor_msgs", "std_msgs")
DEVICES = {"CPUExecutionProvider": "cpu", "CUDAExecutionProvider": "cuda"}
PIP = {
    "openvino": "openvino",
    "tensorrt": "tensorrt cuda-bindings",
    "tensorrt_rtx": "tensorrt-rtx-cu13-bindings tensorrt-rtx-cu13-libs cuda-bindings",
}
SHM_BYTES = 128 << 20
_RENDER = """
import os
from robollm_core.synthetic.backend import load_mujoco
load_mujoco().GLContext(16, 16).make_current()
print(os.environ["MUJOCO_GL"])
"""


@dataclass(frozen=True, slots=True)
class Check:
    """The answer to one question about this machine.

    Attributes:
        area: "python", "packages", "runtime", "models", "ros", "simulator" or "workshop".
        name: what was looked at.
        ok: whether it is there and works.
        detail: version or place when it is, the reason when it is not.
        needed: without it the robot cell does not work.
        mend: command that mends it, "" when it is well.
    """

    area: str
    name: str
    ok: bool
    detail: str
    needed: bool = True
    mend: str = ""


def all_checks(config: Config) -> Iterator[Check]:
    """Look at everything, the foundations first.

    Args:
        config: its artifacts and runtime are the ones looked at.
    """
    yield _python()
    yield from (
        Check("python", need.package, False, need.what, False, need.mend)
        for need in missing("test")
        if need.package
    )
    yield from (_package(name, index) for name, index in DEPLOY.items())
    yield _one_opencv()
    models = list(_models(config))
    yield from models
    sound = {check.name for check in models if check.ok}
    yield from _configured(config, sound)
    yield from _other_runtimes(config.runtime, next(iter(sorted(sound)), ""))
    yield from _ros()
    yield _shared_memory()
    yield _simulator()
    yield from (_workshop(name) for name in WORKSHOP)


def _python() -> Check:
    here = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info[:2] in PYTHON_VERSIONS:
        return Check("python", "python", True, f"{here} {sys.prefix}")
    return Check(
        "python", "python", False, f"{here} is not 3.10, 3.11 or 3.12", mend="make clean setup"
    )


def _imported(name: str) -> tuple[Any, str]:
    """The module, or None and the reason."""
    try:
        return importlib.import_module(name), ""
    except Exception as error:  # noqa: BLE001 - a broken package may raise anything
        return None, f"{type(error).__name__}: {error}".splitlines()[0]


def _version(module: Any, index: str) -> str:
    try:
        return importlib.metadata.version(index)
    except importlib.metadata.PackageNotFoundError:
        return str(getattr(module, "__version__", "version unknown"))


def _pip(*packages: str) -> str:
    return " ".join((sys.executable, "-m pip install", *packages))


def _package(name: str, index: str) -> Check:
    module, reason = _imported(name)
    if module is None:
        return Check("packages", index, False, reason, mend=_pip(index))
    return Check("packages", index, True, _version(module, index))


def _one_opencv() -> Check:
    installed = {"opencv-python", "opencv-contrib-python", "opencv-python-headless"}
    found = [name for name in sorted(installed) if _installed(name)]
    if len(found) < 2:
        return Check("packages", "one OpenCV", True, " ".join(found) or "from the system")
    others = [name for name in found if name != "opencv-python-headless"]
    mend = (
        f"{sys.executable} -m pip uninstall -y {' '.join(others)} && "
        f"{_pip('--force-reinstall --no-deps opencv-python-headless')}"
    )
    return Check(
        "packages", "one OpenCV", False, f"{', '.join(found)} overwrite each other", False, mend
    )


def _installed(index: str) -> bool:
    try:
        return bool(importlib.metadata.version(index))
    except importlib.metadata.PackageNotFoundError:
        return False


def _models(config: Config) -> Iterator[Check]:
    artifact, reason = _imported("robollm_core.runtime.artifact")
    for stage in STAGES:
        path = getattr(config, stage).artifact
        if artifact is None:
            yield Check("models", path, False, reason, mend="make setup")
            continue
        try:
            file, sidecar = artifact.load_artifact(path)
            size = f"{file.stat().st_size / 1e6:.1f} MB, sha256 {sidecar.sha256[:12]}"
            yield Check("models", path, True, f"{size}, {sidecar.precision}")
        except (RobollmError, OSError) as error:
            mend = _restore(artifact.locate(path), artifact.share_folder())
            # the first sentence: the rest proposes to train and export a new one
            yield Check("models", path, False, str(error).partition(". ")[0], mend=mend)


def _restore(path: Path, share: Path) -> str:
    if (share / ".git").exists():
        return f"git -C {share} checkout -- {path} {path.with_suffix('.json')}"
    return "install the package again: it brings its models"


def _configured(config: Config, sound: Collection[str]) -> Iterator[Check]:
    """Start each stage's network as the node would: on the runtime and device of `config`.

    Args:
        config: the configuration.
        sound: artifacts that agree with their sidecars; others are reported as models.
    """
    runtime = config.runtime
    for stage in STAGES:
        path = getattr(config, stage).artifact
        name = f"{runtime.name} on {runtime.device}: {stage}"
        if path not in sound:
            yield Check("runtime", name, False, "not tried: no sound model", False)
            continue
        description, error = _started(path, runtime)
        mend = _runtime_mend(runtime, path, error) if error else ""
        yield Check("runtime", name, not error, description, mend=mend)


def _other_runtimes(runtime: RuntimeConfig, artifact: str) -> Iterator[Check]:
    """What could be configured instead: listed does not mean that it works, so it is started."""
    module, _ = _imported("onnxruntime")
    listed = module.get_available_providers() if module else ()
    if module:
        yield Check("runtime", "onnx providers", True, ", ".join(listed), False)
    others = [("onnx", DEVICES[name]) for name in listed if name in DEVICES]
    for name, device in [*others, ("openvino", "cpu")]:
        if artifact and (runtime.name, runtime.device) != (name, device):
            other = RuntimeConfig(name, device)
            description, error = _started(artifact, other)
            mend = _runtime_mend(other, artifact, error) if error else ""
            yield Check("runtime", f"{name} on {device}", not error, description, False, mend)
    # these are not started: they would build engines, which takes minutes
    yield from (_graphics(name) for name in ("tensorrt", "tensorrt_rtx"))


def _graphics(name: str) -> Check:
    """A TensorRT and the GPU it would run on."""
    try:
        flavour = importlib.import_module("robollm_core.runtime.tensorrt_flavour").find_flavour(
            name
        )
        version = f"{name} {flavour.version}"
    except Exception as error:  # noqa: BLE001 - a broken package may raise anything
        return Check("runtime", f"{name} on cuda", False, _first(error), False, _pip(PIP[name]))
    try:
        gpu = importlib.import_module("robollm_core.runtime.tensorrt_cuda").this_gpu()
        detail = f"{version}, {gpu.name} {gpu.capability}"
        return Check("runtime", f"{name} on cuda", True, detail, False)
    except Exception as error:  # noqa: BLE001 - a broken package may raise anything
        lacks = isinstance(error, ImportError)
        mend = _pip("cuda-bindings") if lacks else "nvidia-smi"
        detail = f"{version} builds engines here, but cannot run them: {_first(error)}"
        return Check("runtime", f"{name} on cuda", False, detail, False, mend)


def _first(error: Exception) -> str:
    """The first sentence of an error: the rest proposes what the mend says."""
    return str(error).splitlines()[0].partition(". ")[0]


def _started(path: str, runtime: RuntimeConfig) -> tuple[str, Exception | None]:
    """The engine's description, or the reason and the error."""
    try:
        factory = importlib.import_module("robollm_core.runtime.factory")
        return factory.load_engine(path, runtime).description, None
    except RobollmError as error:
        return str(error), error
    except Exception as error:  # noqa: BLE001 - a broken package may raise anything
        return f"{type(error).__name__}: {error}".splitlines()[0], error


def _runtime_mend(runtime: RuntimeConfig, path: str, error: Exception) -> str:
    if isinstance(error, ArtifactError | CheckpointError):
        # the file is sound: its checkpoint is missing or unfit, or it is no network of this runtime
        _, sidecar = importlib.import_module("robollm_core.runtime.artifact").load_artifact(path)
        build = f"robollm export {sidecar.stage} --checkpoint CHECKPOINT --out {path}"
        keep = " --keep-checkpoint" if runtime.name == "torch" else ""
        return f"{sidecar.rebuild or build}{keep}"
    lacks = getattr(error.__cause__, "name", None)  # of the factory's ModuleNotFoundError
    if runtime.name in PIP:
        return _pip(PIP[runtime.name] if lacks else f"--force-reinstall {PIP[runtime.name]}")
    if runtime.name == "torch":
        if lacks not in (None, "torch"):
            return "make test"
        return _pip("torch" if lacks else "--force-reinstall torch")
    if lacks or runtime.device == "cpu":
        return _pip("onnxruntime" if lacks else "--force-reinstall onnxruntime")
    # both own the same files
    return f"{sys.executable} -m pip uninstall -y onnxruntime && {_pip('onnxruntime-gpu')}"


def _ros() -> Iterator[Check]:
    prefix = sourced_ros()
    apt = f"sudo apt install ros-{os.environ.get('ROS_DISTRO', 'jazzy')}-"
    rclpy, reason = _imported("rclpy")
    if rclpy is None:
        mend = f"make setup, or {_pip(repr('.[ros]'))}"
        yield Check("ros", "rclpy", False, reason, mend=f"{apt}rclpy" if prefix else mend)
    else:
        where = f"sourced from {prefix}" if prefix else f"wheels, {_version(rclpy, 'ros-rclpy')}"
        rmw = _attempt(lambda: str(rclpy.get_rmw_implementation_identifier()))
        yield Check("ros", "rclpy", True, f"{where}, {rmw}")
    for name in MESSAGES:
        module, reason = _imported(f"{name}.msg")
        wheel = _pip(f"ros-jazzy-{name.replace('_', '-')}")
        mend = f"{apt}{name.replace('_', '-')}" if prefix else wheel
        yield Check("ros", name, module is not None, reason, mend="" if module else mend)
    module, reason = _imported("vision_msgs.msg")
    folder = "./robollm_ros/interfaces/vision_msgs"
    own = _pip("--no-build-isolation --no-deps", folder)
    mend = f"{apt}vision-msgs" if prefix else own
    yield Check("ros", "vision_msgs", module is not None, reason, mend="" if module else mend)
    if os.environ.get("ROS_PYTHON_CHECK_FIELDS") == "1":
        why = "ROS_PYTHON_CHECK_FIELDS=1 costs about 200 ms an image"
        yield Check("ros", "environment", False, why, False, "unset ROS_PYTHON_CHECK_FIELDS")


def _attempt(ask: Callable[[], str]) -> str:
    try:
        return ask()
    except Exception as error:  # noqa: BLE001 - rclpy raises errors of its C libraries
        return f"{type(error).__name__}: {error}".splitlines()[0]


def _shared_memory() -> Check:
    try:
        free = shutil.disk_usage("/dev/shm").free
    except OSError as error:
        return Check("ros", "/dev/shm", False, str(error), False, "mount a tmpfs on /dev/shm")
    mend = "" if free >= SHM_BYTES else "docker run --shm-size=512m ..."
    return Check("ros", "/dev/shm", not mend, f"{free >> 20} MiB free", False, mend)


def _simulator() -> Check:
    # looked up, not imported: MuJoCo chooses how to draw at its first import, once a process
    try:
        version = importlib.metadata.version("mujoco")
    except importlib.metadata.PackageNotFoundError:
        return Check("simulator", "mujoco", False, "not installed", False, _pip("mujoco"))
    # in a process of its own: a graphics library that does not fit may end the process
    tried = subprocess.run(
        [sys.executable, "-c", _RENDER], capture_output=True, text=True, check=False
    )
    if tried.returncode == 0:
        detail = f"{version}, renders with {tried.stdout.strip()}"
        return Check("simulator", "mujoco", True, detail, False)
    last = (tried.stderr.strip().splitlines() or ["no message"])[-1]
    package = debian_package(chosen_backend())
    return Check("simulator", "mujoco", False, last, False, f"sudo apt install {package}")


def _workshop(name: str) -> Check:
    # looked up, not imported: torch and mmdet take seconds
    index = {"mmengine": "onedl-mmengine", "mmcv": "onedl-mmcv", "mmdet": "onedl-mmdetection"}
    try:
        detail = importlib.metadata.version(index.get(name, name))
        return Check("workshop", name, True, detail, False)
    except importlib.metadata.PackageNotFoundError:
        return Check("workshop", name, False, "not installed", False, "make test")

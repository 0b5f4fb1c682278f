# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Which TensorRT is here: the classic one, for data-centre cards, RTX and Jetson, or RTX."""

import functools
import importlib
from collections import deque
from dataclasses import dataclass, field
from typing import Any, cast

from robollm_core.errors import RuntimeUnavailableError
from robollm_core.runtime.tensorrt_api import Bindings, TargetedBindings

CLASSIC, RTX = "tensorrt", "tensorrt_rtx"
MODULES = {CLASSIC: ("tensorrt",), RTX: ("tensorrt_rtx", "tensorrt_rtx_bindings")}
_INSTALL = {
    CLASSIC: "pip install tensorrt cuda-bindings (on a Jetson, JetPack brings the former)",
    RTX: "pip install '.[rtx]' in the checkout",
}
_OLDEST = {CLASSIC: 10, RTX: 1}
_KEPT_LINES = 40


@dataclass(frozen=True, slots=True, eq=False)
class Flavour:
    """One TensorRT that is installed.

    Attributes:
        name: "tensorrt" or "tensorrt_rtx".
        version: of its bindings, such as "10.16.1.11".
        bindings: the module.
        logger: what TensorRT logs to; one a process, because it keeps the first it gets.
        complaints: the latest errors it told, oldest first.
    """

    name: str
    version: str
    bindings: Bindings
    logger: Any
    complaints: deque[str] = field(default_factory=deque)

    @property
    def targeted(self) -> TargetedBindings:
        """The bindings of TensorRT-RTX, which builds for a GPU that is not here."""
        assert self.name == RTX
        return cast("TargetedBindings", self.bindings)

    def why(self) -> str:
        """What TensorRT said since the last call; empty when it said nothing."""
        text = "; ".join(dict.fromkeys(self.complaints))
        self.complaints.clear()
        return text


@dataclass(frozen=True, slots=True)
class Gpu:
    """A graphics card.

    Attributes:
        name: as the driver gives it, such as "NVIDIA GeForce RTX 3060".
        capability: of its architecture, such as "sm86".
    """

    name: str
    capability: str


def target_of(flavour: str, gpu: Gpu) -> str:
    """What an engine for a GPU is built for.

    Returns:
        The capability for TensorRT-RTX, which finishes its kernels on the robot. The
        classic TensorRT measures kernels on the very card, so its name belongs to it.
    """
    return gpu.capability if flavour == RTX else f"{gpu.name} {gpu.capability}"


@functools.cache
def find_flavour(name: str) -> Flavour:
    """Load the bindings of a flavour.

    Args:
        name: "tensorrt" or "tensorrt_rtx".

    Raises:
        RuntimeUnavailableError: If it is not installed, cannot be loaded, or is too old.
    """
    bindings = _load(name)
    version = str(bindings.__version__)
    if int(version.partition(".")[0]) < _OLDEST[name]:
        raise RuntimeUnavailableError(
            f"runtime {name!r} needs version {_OLDEST[name]} or later, {version} is installed. "
            f"Run: {_INSTALL[name]}"
        )
    complaints: deque[str] = deque(maxlen=_KEPT_LINES)
    return Flavour(name, version, bindings, _logger(bindings, complaints), complaints)


def _load(name: str) -> Any:
    for module in MODULES[name]:
        try:
            return importlib.import_module(module)
        except ModuleNotFoundError as error:
            if error.name != module:
                raise RuntimeUnavailableError(
                    f"runtime {name!r}: its bindings need the Python package {error.name!r}. "
                    f"Run: {_INSTALL[name]}"
                ) from error
        except (ImportError, OSError) as error:
            raise RuntimeUnavailableError(
                f"runtime {name!r} is installed but cannot be loaded: {error}. Bindings and "
                f"libraries must be of one version. Run: {_INSTALL[name]}"
            ) from error
    raise RuntimeUnavailableError(
        f"runtime {name!r} needs the Python package {MODULES[name][0]}, which is not installed. "
        f"Run: {_INSTALL[name]}; or set runtime.name to another runtime."
    )


def _logger(bindings: Any, complaints: deque[str]) -> Any:
    class Complaints(bindings.ILogger):  # type: ignore[misc] # the class comes with the bindings
        def __init__(self) -> None:
            bindings.ILogger.__init__(self)  # pybind refuses super() of a class it has not seen

        def log(self, severity: Any, msg: str) -> None:
            if severity.name in ("INTERNAL_ERROR", "ERROR"):
                complaints.append(" ".join(msg.split()))

    return Complaints()

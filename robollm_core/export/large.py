# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Networks beyond the size that one ONNX file can have.

A protobuf message ends at 2 GiB. A network near that is kept as two: the graph,
and its tensors in a file beside it, as ONNX calls external data.
"""

import hashlib
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from robollm_core.runtime.artifact import Sidecar, data_path, write_artifact

LIMIT = (1 << 31) - (1 << 26)
"""Bytes of tensors in one file; the graph around them needs some of the 2 GiB too."""

_SMALLEST = 1024
"""Elements of a weight, and bytes of a tensor in the second file, from which it is large."""

_GRAPH = "network.onnx"


class LargeNetwork(bytes):
    """The bytes of a graph whose large tensors stand in a second file.

    Attributes:
        data: bytes of that file; their sha256 stands in the graph, so that two
            networks with the same nodes and other weights differ in their bytes.
    """

    data: bytes

    @classmethod
    def of(cls, graph: bytes, data: bytes) -> "LargeNetwork":
        """Put a graph and its tensors together."""
        network = cls(graph)
        network.data = data
        return network

    def named(self, name: str) -> bytes:
        """The graph for a data file of this name, in the same folder."""
        model = onnx.load_from_string(bytes(self))
        for tensor in model.graph.initializer:
            for entry in tensor.external_data:
                if entry.key == "location":
                    entry.value = name
        return bytes(model.SerializeToString(deterministic=True))


def serialise(model: onnx.ModelProto) -> bytes:
    """Check a model and turn it into bytes, a `LargeNetwork` when it is one.

    Args:
        model: may lose its tensors.

    Returns:
        The same bytes for the same model.

    Raises:
        onnx.checker.ValidationError: If the model is not valid.
        onnx.shape_inference.InferenceError: If its shapes contradict each other.
    """
    if sum(len(tensor.raw_data) for tensor in model.graph.initializer) <= LIMIT:
        onnx.checker.check_model(model, full_check=True)
        return bytes(model.SerializeToString(deterministic=True))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / _GRAPH
        name = data_path(file).name
        onnx.save_model(
            model, file, save_as_external_data=True, location=name, size_threshold=_SMALLEST
        )
        onnx.checker.check_model(file, full_check=True)
        data = data_path(file).read_bytes()
    onnx.helper.set_model_props(model, {"data_sha256": hashlib.sha256(data).hexdigest()})
    return LargeNetwork.of(model.SerializeToString(deterministic=True), data)


def without_weights(model: onnx.ModelProto, also: Collection[str] = ()) -> onnx.ModelProto:
    """A copy whose large weights are inputs: what is asked of it needs sizes, not a gigabyte.

    Args:
        model: is left as it is.
        also: initialisers that become inputs whatever their size.
    """
    light = onnx.ModelProto()
    for name in ("ir_version", "opset_import", "functions"):
        _copy_field(model, light, name)
    graph = light.graph
    for name in ("node", "name", "input", "output", "value_info", "sparse_initializer"):
        _copy_field(model.graph, graph, name)
    for tensor in model.graph.initializer:
        small = int(np.prod(tensor.dims)) < _SMALLEST and tensor.name not in also
        if small and tensor.data_location != tensor.EXTERNAL:
            graph.initializer.append(tensor)
        elif tensor.name not in {value.name for value in model.graph.input}:
            sizes = list(tensor.dims)
            graph.input.append(
                onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, sizes)
            )
    return light


def _copy_field(source: Any, target: Any, name: str) -> None:
    value = getattr(source, name)
    if isinstance(value, str | int):
        setattr(target, name, value)
    else:
        getattr(target, name).extend(value)


@contextmanager
def laid_out(network: bytes) -> Iterator[bytes | Path]:
    """Give a network in the form that runtimes load.

    Yields:
        The bytes themselves, or the file of a `LargeNetwork`, gone afterwards.
    """
    if not isinstance(network, LargeNetwork):
        yield network
        return
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / _GRAPH
        file.write_bytes(network.named(data_path(file).name))
        data_path(file).write_bytes(network.data)
        yield file


def write_network(path: Path, network: bytes, sidecar: Sidecar) -> Sidecar:
    """Write an artifact, whole or not at all, with a second file for a `LargeNetwork`.

    Args:
        path: the `.onnx` file to write.
        network: what `serialise` returned.
        sidecar: what to say of it.

    Returns:
        The sidecar as written.

    Raises:
        OutputError: If writing fails.
    """
    if isinstance(network, LargeNetwork):
        return write_artifact(path, network.named(data_path(path).name), sidecar, network.data)
    return write_artifact(path, network, sidecar)

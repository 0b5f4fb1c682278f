# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""int8 by calibration, with quantisers in the graph (QDQ); ONNX Runtime's tool does it.

Weights get a scale a channel and activations one a tensor, both symmetric, as
TensorRT needs them.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)

from robollm_core.errors import ParityError
from robollm_core.types import Tensors

QUANTIZED = ("MatMul", "Gemm", "Conv")


class SampleReader(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
    """Hands samples to the calibration, one run after the other."""

    def __init__(self, samples: Sequence[Tensors]) -> None:
        """Take the samples."""
        self._samples = samples
        self.rewind()

    def get_next(self) -> dict[str, npt.NDArray[np.generic]] | None:
        """The next sample, None after the last."""
        sample = next(self._rest, None)
        return None if sample is None else dict(sample)

    def rewind(self) -> None:
        """Begin anew."""
        self._rest = iter(self._samples)


def quantize(network: Path, samples: Sequence[Tensors], excluded: Sequence[str]) -> onnx.ModelProto:
    """Quantise products and convolutions.

    Args:
        network: an fp32 graph with folded constants.
        samples: inputs whose activations give the scales.
        excluded: names of nodes that stay in fp32.

    Raises:
        ParityError: If the tool fails.
    """
    out = network.with_name("int8.onnx")
    try:
        quantize_static(
            str(network),
            str(out),
            SampleReader(samples),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(QUANTIZED),
            per_channel=True,
            activation_type=QuantType.QInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=list(excluded),
            calibrate_method=CalibrationMethod.MinMax,
            extra_options={
                "ActivationSymmetric": True,
                "WeightSymmetric": True,
                "QuantizeBias": False,
                # what comes out is read by additions and norms in fp32
                "OpTypesToExcludeOutputQuantization": list(QUANTIZED),
            },
        )
    except Exception as error:
        raise ParityError(f"ONNX Runtime cannot quantise the network: {error}") from error
    return onnx.load(out)

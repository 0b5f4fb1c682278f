# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Files that hold tensors: what `torch.save` and safetensors wrote, both distrusted.

Nothing but tensors and plain data is unpickled.
"""

import argparse
import hashlib
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from robollm_core.errors import CheckpointError
from robollm_core.files import file_sha256

FORMAT = 1
SAFETENSORS = ".safetensors"
_MODEL_KEYS = ("model", "module", "state_dict")
_SIDECAR_LIMIT = 1 << 20


def read_torch(path: Path, *, mapped: bool = False) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a file of `torch.save` without running anything in it.

    Args:
        path: a dict with "model", "module" or "state_dict", or a bare state dict.
        mapped: leave the tensors on disk until they are used, which spares the
            memory of an optimizer; the file must then stay as it is.

    Returns:
        The state dict, and the other entries of the file.

    Raises:
        CheckpointError: If the file is missing, damaged, holds more than tensors
            and plain data, or has no state dict.
    """
    content = _unpickle(path, mapped=mapped)
    key = next((key for key in _MODEL_KEYS if key in content), None)
    inner = content if key is None else content[key]
    others = {} if key is None else {k: v for k, v in content.items() if k != key}
    if not isinstance(inner, Mapping) or not inner:
        raise CheckpointError(f"{path}: the model must be a dict of tensors and not empty.")
    for name, tensor in inner.items():
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise CheckpointError(
                f"{path}: entry {name!r} of the model is a {type(tensor).__name__}, "
                "expected a tensor under a name."
            )
    return dict(inner), others


def _unpickle(path: Path, *, mapped: bool) -> dict[str, Any]:
    try:
        # unilm stores its command line as an argparse.Namespace, which is plain data
        with torch.serialization.safe_globals([argparse.Namespace]):
            content = torch.load(
                path,
                map_location="cpu",
                weights_only=True,
                mmap=mapped and zipfile.is_zipfile(path),
            )
    except FileNotFoundError as error:
        raise CheckpointError(f"there is no checkpoint {path}.") from error
    except Exception as error:  # torch raises many kinds for a damaged or hostile file
        reason = str(error).strip().split("\n", maxsplit=1)[0]
        raise CheckpointError(
            f"{path} is no checkpoint that can be read safely ({type(error).__name__}: {reason}). "
            "Expected a torch.save file holding only tensors and plain data; if it was "
            "downloaded, compare its size with the one at its origin."
        ) from error
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} holds a {type(content).__name__}, expected a dict.")
    return content


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], str]:
    """Read a safetensors file.

    Returns:
        Its tensors, and the sha256 of the file.

    Raises:
        CheckpointError: If it is missing or damaged.
    """
    try:
        data = path.read_bytes()
        return load(data), hashlib.sha256(data).hexdigest()
    except FileNotFoundError as error:
        raise CheckpointError(f"there is no checkpoint {path}.") from error
    except (OSError, SafetensorError, ValueError) as error:
        raise CheckpointError(
            f"{path} is no safetensors file that can be read ({type(error).__name__}: {error}). "
            "Fetch it again; a download that broke off looks like this."
        ) from error


def read_sidecar(path: Path) -> dict[str, Any]:
    """What the `x.json` beside `x.safetensors` says of it.

    Args:
        path: the safetensors file.

    Returns:
        The sidecar's entries, among them "sha256", "stage" and "recipe".

    Raises:
        CheckpointError: If it is missing or no sidecar of `robollm convert`.
    """
    beside = path.with_suffix(".json")
    try:
        with beside.open("rb") as file:
            data = file.read(_SIDECAR_LIMIT + 1)
        tree = json.loads(data)
    except FileNotFoundError as error:
        raise CheckpointError(
            f"{path} lacks its sidecar {beside.name}, which says what it is. Copy both files, or "
            f"run: robollm convert {path} OUT.safetensors"
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"cannot read the sidecar {beside}: {error}.") from error
    kinds = {"sha256": str, "stage": str, "recipe": dict}
    fits = isinstance(tree, dict) and tree.get("format") == FORMAT
    if not fits or any(type(tree.get(key)) is not kind for key, kind in kinds.items()):
        raise CheckpointError(
            f"{beside} is no sidecar of weights: expected format {FORMAT}, sha256, stage and "
            "recipe. An artifact's sidecar has the same name: keep weights and artifact apart."
        )
    return dict(tree)


def file_digest(path: Path) -> str:
    """Hex sha256 of a file.

    Raises:
        CheckpointError: If it cannot be read.
    """
    try:
        return file_sha256(path)
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error}.") from error

# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Artifacts: a network file and the sidecar that says what it is.

`x.onnx` stands beside `x.json`. The sidecar carries the file's sha256, so that
a missing, truncated or exchanged network is refused before it answers. A network
too large for one file has its tensors in `x.onnx.data`, which is held to the same.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from robollm_core.errors import ArtifactError, OutputError
from robollm_core.files import file_sha256
from robollm_core.types import EngineSpec, TensorSpec

FORMAT = 1
_SIDECAR_LIMIT = 1 << 20
_PACKAGE = "robollm"


@dataclass(frozen=True, slots=True)
class Sidecar:
    """What is known of a network file.

    Attributes:
        stage: "segmentation", "identification", "identification_fusion" or "defects".
        spec: inputs and outputs of the graph.
        sha256: hex digest of the network file; set by `write_artifact`.
        precision: "fp32", or "fp16 weights", which are stored in halves and computed
            in fp32; "fp16", "bf16" or "int8" where the types in the graph say it.
        opset: ONNX opset.
        source_checkpoint: "file" and "sha256" of the checkpoint it came from.
        recipe: how that was trained.
        rebuild: the command that makes the file again.
        meta: what the stage needs: "crop", "input_hw", "labels", "scale",
            "scoring", "views", "view_order"; "origin", the runs whose weights the
            training began with; and "external", "file" and "sha256" of the
            tensors of a network too large for one file; and "derived", of a network in
            another precision: sha256 it came "from", "islands" kept in fp32.
    """

    stage: str
    spec: EngineSpec
    sha256: str = ""
    precision: str = "fp32"
    opset: int = 0
    source_checkpoint: Mapping[str, str] = field(default_factory=dict)
    recipe: Mapping[str, Any] = field(default_factory=dict)
    rebuild: str = ""
    meta: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        """The sidecar as JSON text."""
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=2, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str) -> "Sidecar":
        """Read what `to_json` wrote.

        Raises:
            ValueError: If the text is not a sidecar of this format.
        """
        tree = json.loads(text)
        if not isinstance(tree, dict) or tree.pop("format", None) != FORMAT:
            raise ValueError(f'it must be a JSON object with "format": {FORMAT}')
        types = {"stage": str, "sha256": str, "precision": str, "opset": int, "rebuild": str}
        types |= {"source_checkpoint": dict, "recipe": dict, "meta": dict, "spec": dict}
        if tree.keys() != types.keys():
            raise ValueError(f"it must have the keys {sorted(types)}, it has {sorted(tree)}")
        for key, kind in types.items():
            if type(tree[key]) is not kind:
                raise ValueError(f"{key} must be of type {kind.__name__}, it is {tree[key]!r}")
        return cls(**{**tree, "spec": _read_spec(tree["spec"])})


def _read_spec(tree: Mapping[str, Any]) -> EngineSpec:
    try:
        return EngineSpec(*(tuple(map(_read_tensor, tree[key])) for key in ("inputs", "outputs")))
    except (KeyError, TypeError) as error:
        raise ValueError(f"spec must list inputs and outputs, each {_TENSOR}") from error


_TENSOR = "{name, shape, dtype}"


def _read_tensor(tree: Mapping[str, Any]) -> TensorSpec:
    shape = tuple(tree["shape"])
    if set(tree) != {"name", "shape", "dtype"} or any(type(size) is not int for size in shape):
        raise ValueError(f"a tensor of spec must be {_TENSOR}, it is {tree!r}")
    return TensorSpec(str(tree["name"]), shape, str(tree["dtype"]))


def sidecar_path(path: Path) -> Path:
    """Where the sidecar of a network file stands."""
    return path.with_suffix(".json")


def data_path(path: Path) -> Path:
    """Where the tensors of a network too large for one file stand."""
    return path.with_name(f"{path.name}.data")


def kept_checkpoint(path: Path, suffix: str) -> Path:
    """Where `--keep-checkpoint` puts the checkpoint of an artifact.

    Args:
        path: the `.onnx` file.
        suffix: of the checkpoint; a safetensors file has a sidecar of its own, so
            its name differs from the artifact's.
    """
    if suffix == ".safetensors":
        return path.with_name(f"{path.stem}.checkpoint.safetensors")
    return path.with_suffix(".pt")


def load_artifact(path: Path | str) -> tuple[Path, Sidecar]:
    """Check a network file against its sidecar.

    Args:
        path: the `.onnx` file; a relative path goes through `locate`.

    Returns:
        The file found, and its sidecar.

    Raises:
        ArtifactError: If either file is missing, the sidecar is not one, or the
            sha256 differs; the text names the command that rebuilds the file.
    """
    path = locate(str(path))
    sidecar = _read_sidecar(path)
    rebuild = sidecar.rebuild or _rebuild(path, sidecar.stage)
    for file, expected in _files(path, sidecar, rebuild).items():
        _check_sha256(file, expected, rebuild)
    return path, sidecar


def _files(path: Path, sidecar: Sidecar, rebuild: str) -> dict[Path, str]:
    """The files of a network and their digests."""
    files = {path: sidecar.sha256}
    external = sidecar.meta.get("external")
    if external is not None:
        data = data_path(path)
        told = external if isinstance(external, Mapping) else {}
        if told.get("file") != data.name or not isinstance(told.get("sha256"), str):
            raise ArtifactError(
                f"{sidecar_path(path)} must name {data.name} and its sha256 as external, it says "
                f"{external!r}. A network of two files keeps its name. Run: {rebuild}"
            )
        files[data] = told["sha256"]
    return files


def _check_sha256(path: Path, expected: str, rebuild: str) -> None:
    try:
        digest = file_sha256(path)
    except OSError as error:
        raise ArtifactError(f"cannot read the network {path}: {error}. Run: {rebuild}") from error
    if digest != expected:
        raise ArtifactError(
            f"{path} was changed or damaged: its sidecar says sha256 {expected[:16]}..., "
            f"the file has {digest[:16]}... Fetch all its files again, or run: {rebuild}"
        )


def _read_sidecar(path: Path) -> Sidecar:
    beside = sidecar_path(path)
    try:
        with beside.open("rb") as file:
            data = file.read(_SIDECAR_LIMIT + 1)
    except OSError as error:
        missing = beside if path.exists() else path
        raise ArtifactError(
            f"cannot read {missing}: {error.strerror or error}. A network and its .json stand "
            f"side by side. Run: {_rebuild(path, 'STAGE')}"
        ) from error
    if len(data) > _SIDECAR_LIMIT:
        raise ArtifactError(f"{beside} is over {_SIDECAR_LIMIT} bytes; a sidecar never is.")
    try:
        return Sidecar.from_json(data.decode("utf-8"))
    except (ValueError, TypeError, RecursionError) as error:
        raise ArtifactError(
            f"{beside} is not a sidecar: {error}. Run: {_rebuild(path, 'STAGE')}"
        ) from error


def _rebuild(path: Path, stage: str) -> str:
    return f"robollm export {stage} --checkpoint CHECKPOINT --out {path}"


def write_artifact(
    path: Path, network: bytes, sidecar: Sidecar, data: bytes | None = None
) -> Sidecar:
    """Write a network and its sidecar, whole or not at all.

    Args:
        path: the `.onnx` file to write.
        network: its bytes.
        sidecar: what to say of it; `sha256` and `meta["external"]` are filled in here.
        data: its tensors, if they stand in a second file; the graph must name that
            as `data_path` does.

    Returns:
        The sidecar as written.

    Raises:
        OutputError: If writing fails; files that were there before stay as they
            were, unless one of the renames itself fails, then none stays.
    """
    sidecar = _complete(path, network, sidecar, data)
    contents = {path: network, sidecar_path(path): sidecar.to_json().encode()}
    if data is not None:
        contents = {data_path(path): data, **contents}
    _replace_all(path, contents)
    if data is None:
        # what an earlier, larger network left; nothing names it any more
        with contextlib.suppress(OSError):
            data_path(path).unlink()
    return sidecar


def _complete(path: Path, network: bytes, sidecar: Sidecar, data: bytes | None) -> Sidecar:
    meta = {key: value for key, value in sidecar.meta.items() if key != "external"}
    if data is not None:
        digest = hashlib.sha256(data).hexdigest()
        meta["external"] = {"file": data_path(path).name, "sha256": digest}
    return replace(sidecar, sha256=hashlib.sha256(network).hexdigest(), meta=meta)


def _replace_all(path: Path, contents: Mapping[Path, bytes]) -> None:
    parts = {target: target.with_name(f".{target.name}.part") for target in contents}
    done: list[Path] = []
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for target, part in parts.items():
            _write_through(part, contents[target])
        for target, part in parts.items():
            part.replace(target)
            done.append(target)
    except OSError as error:
        # a network without its own sidecar would be refused anyway: leave neither
        for leftover in (*parts.values(), *done):
            with contextlib.suppress(OSError):  # a file where the folder should be
                leftover.unlink()
        raise OutputError(f"cannot write {path}: {error}. Nothing was written.") from error


def _write_through(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def locate(path: str) -> Path:
    """Where a path of the configuration lies.

    Args:
        path: absolute, with "~", or relative to the folder the package shares:
            the checkout when run from one, else share/robollm of the prefix it
            is installed under.

    Returns:
        An absolute path; it need not exist.
    """
    given = Path(path).expanduser()
    return given if given.is_absolute() else share_folder() / given


def share_folder() -> Path:
    """The folder that holds models and config of this very installation."""
    here = Path(__file__).resolve()
    checkout = here.parents[2]
    if (checkout / "package.xml").is_file():
        return checkout
    shares = [parent / "share" / _PACKAGE for parent in here.parents]
    # a sourced workspace, for code that was put on PYTHONPATH by hand
    prefixes = os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep)
    shares += [Path(prefix) / "share" / _PACKAGE for prefix in prefixes if prefix]
    return next((share for share in shares if (share / "package.xml").is_file()), checkout)


def own_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """A copy with the package importable, also where it is a checkout."""
    own = dict(environment)
    checkout = share_folder()
    if (checkout / "robollm_ros").is_dir():
        paths = [str(checkout), *filter(None, [own.get("PYTHONPATH")])]
        own["PYTHONPATH"] = os.pathsep.join(paths)
    return own

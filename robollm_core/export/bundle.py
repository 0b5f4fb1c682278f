# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Making a model bundle: the same contents give the same bytes, and nothing unverified is left."""

import io
import json
import os
import shutil
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

import yaml

from robollm_core import __version__
from robollm_core.config import Config, Scalar, flatten, update
from robollm_core.errors import ArtifactError, ConfigError, OutputError
from robollm_core.files import file_sha256, replacing
from robollm_core.runtime.artifact import (
    data_path,
    load_artifact,
    share_folder,
    sidecar_path,
)
from robollm_core.runtime.bundle import check_bundle
from robollm_core.runtime.bundle_description import (
    DESCRIPTION,
    FORMAT,
    STAGES,
    Bundle,
    parse_description,
    stage_facts,
    thresholds,
)

NEEDS = "0.1.0"
"""The oldest robollm that reads what is written here."""
FUSION = "identification_fusion"
NOT_STATED = "not stated"
_ARCHIVES = (".gz", ".tgz", ".bz2", ".xz", ".zst", ".zip")


@dataclass(frozen=True, slots=True)
class Contents:
    """What goes into a bundle.

    Attributes:
        models: folder with X.onnx and X.json of the three stages.
        name, version: of the bundle.
        date: "YYYY-MM-DD", or "" for none.
        values: settings by dotted name; those a bundle carries, or defaults.
        precisions: further networks to bring, X.P.onnx for each P.
        sizes: further segmentation networks to bring, segmentation_S.onnx for each S.
        engines: folder with built engines of these networks, or None.
        licences: further licence texts.
    """

    models: Path
    name: str
    version: str = "1"
    date: str = ""
    values: Mapping[str, Any] = field(default_factory=dict)
    precisions: tuple[str, ...] = ()
    sizes: tuple[str, ...] = ()
    engines: Path | None = None
    licences: tuple[Path, ...] = ()


def make_bundle(contents: Contents, out: Path) -> Bundle:
    """Write a bundle, whole or not at all.

    Args:
        contents: what goes in.
        out: ends in .tar: a tar, in the place of one that was there; else a folder,
            which must be new or empty.

    Returns:
        The bundle as verified after writing.

    Raises:
        ArtifactError: If a network is missing, damaged or of another stage.
        ConfigError: If a value is wrong or no bundle carries it, or `out` is no place.
        OutputError: If it cannot be written.
    """
    if out.suffix in _ARCHIVES:
        raise ConfigError(f"a bundle is a .tar or a folder, got {out}: networks do not shrink.")
    values = bundle_values(contents.values)
    stages = dict(_stages(contents))
    files = _unique(_files(contents, stages))
    if contents.engines and not any(name.endswith(".engine") for name in files):
        raise ConfigError(
            f"expected engines of these networks in {contents.engines}, such as "
            f"{STAGES[0]}.sm86.tensorrt_rtx.engine, found none."
        )
    tree = {
        "format": FORMAT,
        "name": contents.name,
        "version": contents.version,
        "date": contents.date,
        "made_with": __version__,
        "needs": NEEDS,
        "license": _license(contents.models),
        "stages": stages,
        "values": values,
        "files": {name: _listed(path) for name, path in sorted(files.items())},
    }
    text = (json.dumps(tree, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()
    parse_description(text, out)  # a wrong name is told before anything is written
    return _write_tar(out, text, files) if out.suffix == ".tar" else _write_folder(out, text, files)


def bundle_values(values: Mapping[str, Any]) -> dict[str, Scalar]:
    """The thresholds of a configuration.

    Raises:
        ConfigError: If a value is wrong, or set and none that a bundle carries.
    """
    config, carried = update(Config(), values), thresholds()
    defaults = flatten(Config())
    for name, value in flatten(config).items():
        if name not in carried and value != defaults[name]:
            raise ConfigError(
                f"a bundle cannot set {name}, which is of a machine or a place, only "
                f"{', '.join(carried)}."
            )
    return {name: value for name, value in flatten(config).items() if name in carried}


def _stages(contents: Contents) -> Iterator[tuple[str, dict[str, Any]]]:
    for stage in (*STAGES, FUSION):
        path = contents.models / f"{stage}.onnx"
        if stage == FUSION and not path.exists():
            continue
        _, sidecar = load_artifact(path.absolute())
        facts, others = stage_facts(path.name, sidecar), _others(contents, stage)
        yield stage, {**facts, "others": others} if others else facts


def _others(contents: Contents, stage: str) -> list[str]:
    """File names of a stage's further networks, as `robollm export` names them."""
    if stage == FUSION:
        names = [f"identification.{precision}_fusion.onnx" for precision in contents.precisions]
        return [name for name in names if (contents.models / name).exists()]
    names = [f"{stage}.{precision}.onnx" for precision in contents.precisions]
    return names + [f"{stage}_{size}.onnx" for size in contents.sizes if stage == "segmentation"]


def _files(contents: Contents, stages: Mapping[str, Any]) -> Iterator[tuple[str, Path]]:
    """Every file of the bundle but bundle.json: name in it, and where it is now."""
    models = contents.models
    for facts in stages.values():
        for name in (facts["artifact"], *facts.get("others", ())):
            path, sidecar = load_artifact((models / name).absolute())
            yield name, path
            yield sidecar_path(path).name, sidecar_path(path)
            yield from _engines(contents.engines, path.stem, sidecar.sha256)
            if "external" in sidecar.meta:
                yield data_path(path).name, data_path(path)
    for name in (*(f"{stage}.md" for stage in STAGES), "metrics.json"):
        if (models / name).is_file():
            yield name, models / name
    yield "LICENSE", share_folder() / "LICENSE"
    for path in contents.licences:
        yield f"licences/{path.name}", path


def _unique(files: Iterable[tuple[str, Path]]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for name, path in files:
        if name in found:
            raise ConfigError(f"a bundle cannot hold {name} twice: {found[name]} and {path}.")
        found[name] = path
    return found


def _engines(folder: Path | None, stem: str, sha256: str) -> Iterator[tuple[str, Path]]:
    """The engines of a network: X.GPU.RUNTIME.engine, which a runtime finds beside X.onnx."""
    for path in sorted(folder.glob(f"{stem}.*.engine")) if folder else ():
        if len(path.name.removeprefix(stem).split(".")) != 4:
            continue  # of X.fp16.onnx, when this is X.onnx
        beside = path.with_suffix(".json")
        try:
            tree = json.loads(beside.read_text(encoding="utf-8"))
            whole = tree["facts"]["network"] == sha256 and tree["sha256"] == file_sha256(path)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ArtifactError(
                f"cannot read {beside}: {error}. Build the engine again."
            ) from error
        if not whole:
            raise ArtifactError(
                f"{path} is damaged, or an engine of another network than {stem}.onnx (sha256 "
                f"{sha256[:16]}...). Build it again: robollm export tensorrt"
            )
        yield path.name, path
        yield beside.name, beside


def _license(models: Path) -> str:
    """SPDX identifier that the index beside the folder gives its networks."""
    try:
        tree = yaml.safe_load((models.resolve().parent / "index.yaml").read_text("utf-8"))
        own = [
            m for m in tree["models"] if Path(m["artifact"]).parent.name == models.resolve().name
        ]
        return " AND ".join(sorted({str(model["license"]) for model in own})) or NOT_STATED
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError):
        return NOT_STATED


def _listed(path: Path) -> dict[str, Any]:
    try:
        return {"bytes": path.stat().st_size, "sha256": file_sha256(path)}
    except OSError as error:
        raise ArtifactError(f"cannot read {path}: {error.strerror or error}.") from error


def _write_tar(out: Path, text: bytes, files: Mapping[str, Path]) -> Bundle:
    with replacing(out) as part:
        with tarfile.open(part, "w", format=tarfile.GNU_FORMAT) as archive:
            _add(archive, DESCRIPTION, io.BytesIO(text))
            for name, path in sorted(files.items()):
                with path.open("rb") as file:
                    _add(archive, name, file)
        return replace(check_bundle(part), source=out)


def _add(archive: tarfile.TarFile, name: str, file: IO[bytes]) -> None:
    """Add a file without its time and owner."""
    entry = tarfile.TarInfo(name)
    entry.size = file.seek(0, os.SEEK_END)
    file.seek(0)
    archive.addfile(entry, file)


def _write_folder(out: Path, text: bytes, files: Mapping[str, Path]) -> Bundle:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise OutputError(f"{out} is there already; remove it, or choose another place.")
    part: Path | None = None
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
        (part / DESCRIPTION).write_bytes(text)
        for name, path in files.items():
            (part / name).parent.mkdir(exist_ok=True)
            shutil.copyfile(path, part / name)
        bundle = replace(check_bundle(part), source=out)
        part.chmod(0o755)  # mkdtemp makes it private
        part.replace(out)
        return bundle
    except OSError as error:
        raise OutputError(f"cannot write {out}: {error}. Nothing of it is kept.") from error
    finally:
        if part is not None:  # after a success the name is gone already
            shutil.rmtree(part, ignore_errors=True)

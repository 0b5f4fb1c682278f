# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Manifests: JSON from outside in, checked nouns out.

Two forms are read (config/schema/container_manifest.schema.json): our own, with
`container_id` and `products`, and ARMBench's container.json, keyed by product
id. Every refusal names the JSON path of the offending field.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NoReturn

import jsonschema

from robollm_core.errors import ManifestError
from robollm_core.types import Manifest, ManifestItem

SCHEMA = "robollm.container_manifest/1"
MAX_BYTES = 8 * 2**20
ARMBENCH_REFERENCES = "Reference_Images"
"""Folder of ARMBench that holds one folder of reference images a product."""

_SCHEMA_FILE = Path("config/schema/container_manifest.schema.json")


def parse_manifest(text: str | bytes, source: str) -> Manifest:
    """Read a manifest.

    Args:
        text: JSON, UTF-8 when bytes, at most `MAX_BYTES`.
        source: name for error messages, such as a path or a topic.

    Returns:
        The manifest. Items keep the order of the source; an item's quantity is
        what is left after `picked`. ARMBench's form names no container, so the
        start of the text's sha256 stands in, and references default to the
        folder Reference_Images/<Product-ID>.

    Raises:
        ManifestError: If the text is too large, is not JSON, does not follow
            the schema, or names an item twice.
    """
    data = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    if len(data) > MAX_BYTES:
        raise ManifestError(f"{source}: a manifest has at most {MAX_BYTES} bytes, got {len(data)}.")
    tree = _decode(data, source)
    # the first error is enough to refuse, and a huge wrong input has millions
    for error in jsonschema.Draft202012Validator(_schema()).iter_errors(tree):
        raise ManifestError(f"{source}: {_brief(error.json_path)}: {_brief(error.message)}")
    digest = hashlib.sha256(data).hexdigest()
    items = tuple(_items(tree, source))
    if "products" not in tree:
        return Manifest(container_id=digest[:12], version=0, items=items, sha256=digest)
    version = int(tree.get("version", 0))  # JSON schema counts 7.0 as an integer
    return Manifest(tree["container_id"], version, items, digest)


def read_manifest(path: Path | str) -> Manifest:
    """Read a manifest file.

    Raises:
        ManifestError: If the file cannot be read or `parse_manifest` refuses it.
    """
    try:
        with Path(path).open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise ManifestError(f"cannot read the manifest {path}: {error}") from error
    return parse_manifest(data, str(path))


def manifest_json(manifest: Manifest) -> str:
    """Write a manifest in our own form; `parse_manifest` reads it back item for item."""
    products = [
        {
            "product_id": item.item_id,
            "quantity": item.quantity,
            "text": item.text,
            "weight_kg": item.weight_kg,
            "dims_m": list(item.dims_m),
            "reference_images": list(item.reference_images),
        }
        for item in manifest.items
    ]
    tree = {
        "schema": SCHEMA,
        "container_id": manifest.container_id,
        "version": manifest.version,
        "products": products,
    }
    return json.dumps(tree, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


def check_version(before: Manifest | None, now: Manifest) -> None:
    """Refuse a step back: a late message of a transport must not undo a newer one.

    Args:
        before: in force until now, None when there is none.
        now: about to be put in force.

    Raises:
        ManifestError: If both are of the same container and `now` is the older.
    """
    if before is None or before.container_id != now.container_id:
        return
    if now.version < before.version:
        raise ManifestError(
            f"container {now.container_id!r} is at version {before.version}, got the older "
            f"{now.version}. Raise the version with every change."
        )


@cache
def _schema() -> Any:
    # a checkout has config/ above the package, an install has share/robollm/ (pip, colcon, deb)
    for folder in Path(__file__).resolve().parents:
        for root in (folder, folder / "share" / "robollm"):
            if (root / _SCHEMA_FILE).is_file():
                return json.loads((root / _SCHEMA_FILE).read_text(encoding="utf-8"))
    raise ManifestError(
        f"{_SCHEMA_FILE} lies neither in the checkout nor under share/robollm; reinstall robollm."
    )


def _decode(data: bytes, source: str) -> Any:
    try:
        return json.loads(
            data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_refuse_constant
        )
    except RecursionError:
        raise ManifestError(f"{source} is nested too deeply to be a manifest.") from None
    except ValueError as error:  # UnicodeDecodeError and JSONDecodeError among them
        raise ManifestError(f"{source} is not JSON: {error}") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for key, value in pairs:
        if key in tree:
            raise ValueError(f"the key {_brief(repr(key))} is twice")
        tree[key] = value
    return tree


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _brief(text: str) -> str:
    return text if len(text) <= 200 else f"{text[:160]} ... {text[-30:]}"


def _items(tree: Mapping[str, Any], source: str) -> Iterator[ManifestItem]:
    if "products" not in tree:
        for name, product in tree.items():
            folder = [f"{ARMBENCH_REFERENCES}/{name}"]
            yield _item({"reference_images": folder} | product, name, f"{source}: $[{name!r}]")
        return
    seen: dict[str, int] = {}
    for index, product in enumerate(tree["products"]):
        name, path = product["product_id"], f"$.products[{index}]"
        if name in seen:
            raise ManifestError(
                f"{source}: {path}.product_id: {name!r} is already $.products[{seen[name]}]."
            )
        seen[name] = index
        yield _item(product, name, f"{source}: {path}")


def _item(product: Mapping[str, Any], name: str, where: str) -> ManifestItem:
    quantity, picked = product.get("quantity", 1), product.get("picked", 0)
    if picked > quantity:
        raise ManifestError(f"{where}.picked: {picked} picked of a quantity of {quantity}.")
    length, width, height = product.get("dims_m", product.get("dimensions", (0.0, 0.0, 0.0)))
    return ManifestItem(
        item_id=name,
        quantity=int(quantity - picked),  # JSON schema counts 2.0 as an integer
        text=product.get("text", ""),
        weight_kg=float(product.get("weight_kg", product.get("weight", 0.0))),
        dims_m=(float(length), float(width), float(height)),
        reference_images=tuple(product["reference_images"]),
    )

# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Manifests: JSON from outside in, checked nouns out.

Two forms are read (config/schema/container_manifest.schema.json): our own, with
`container_id` and `products`, and ARMBench's container.json, keyed by product
id. Every refusal names the JSON path of the offending field.
"""

import hashlib
import json
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema

from robollm_core.errors import ManifestError
from robollm_core.strict_json import brief, decode_json
from robollm_core.types import Manifest, ManifestItem

SCHEMA = "robollm.container_manifest/1"
MAX_BYTES = 32 * 2**20
"""100 000 products with all that can be said of each take about 25 MB; reading them takes some 20
times their size in memory, for a moment."""
ARMBENCH_REFERENCES = "Reference_Images"
"""Folder of ARMBench that holds one folder of reference images a product."""

_SCHEMA_FILE = Path("config/schema/container_manifest.schema.json")
# half a surrogate pair can be written in JSON, and can be published, printed or stored nowhere
_NAME = re.compile(r"[^\x00-\x1f\x7f\ud800-\udfff]{1,256}").fullmatch
_PATH = re.compile(r"[^\x00-\x1f\x7f\ud800-\udfff]{1,1024}").fullmatch
_TEXT = re.compile(r"[^\ud800-\udfff]{0,65536}").fullmatch


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
    tree = decode_json(data, source, "a manifest", ManifestError)
    _check(tree, source)
    digest = hashlib.sha256(data).hexdigest()
    items = tuple(_items(tree, source))
    if "products" not in tree:
        return Manifest(container_id=digest[:12], version=0, items=items, sha256=digest)
    version = int(tree.get("version", 0))  # JSON schema counts 7.0 as an integer
    return Manifest(tree["container_id"], version, items, digest, tree.get("complete", True))


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
        **({} if manifest.complete else {"complete": False}),
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


class ManifestHistory:
    """The newest manifests; safe to use from several threads."""

    def __init__(self, size: int) -> None:
        """Keep at most `size` manifests, at least one."""
        self._size = max(1, size)
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, int], Manifest] = OrderedDict()

    def put(self, manifest: Manifest) -> None:
        """Make a manifest the current one; the oldest is forgotten where there are too many.

        Raises:
            ManifestError: If the current one is of the same container and newer.
        """
        with self._lock:
            check_version(self._newest(), manifest)
            key = (manifest.container_id, manifest.version)
            self._kept[key] = manifest
            self._kept.move_to_end(key)
            while len(self._kept) > self._size:
                self._kept.popitem(last=False)

    @property
    def current(self) -> Manifest | None:
        """What was put last; None before the first."""
        with self._lock:
            return self._newest()

    def at(self, container_id: str, version: int | None = None) -> Manifest | None:
        """A manifest that is still kept.

        Args:
            container_id: of the container.
            version: of its manifest; None for the one put last.

        Returns:
            None when it never came, or is forgotten.
        """
        with self._lock:
            if version is not None:
                return self._kept.get((container_id, version))
            own = (kept for kept in reversed(self._kept.values()))
            return next((kept for kept in own if kept.container_id == container_id), None)

    def _newest(self) -> Manifest | None:
        return next(reversed(self._kept.values()), None)


def _check(tree: Any, source: str) -> None:
    """Hold a manifest to the schema.

    The validator takes 0.2 ms a product, 20 s for 100 000 of them. So products that are
    plainly right are passed over, and it sees the others and what is around them.
    """
    rest, doubtful = tree, []
    products: Any = tree.get("products") if isinstance(tree, dict) else None
    if isinstance(products, list):
        limit = _schema()["$defs"]["manifest"]["properties"]["products"]["maxItems"]
        if len(products) > limit:
            raise ManifestError(
                f"{source}: $.products: at most {limit} products, got {len(products)}. Send the "
                "products of one container, not the catalogue."
            )
        doubtful = [index for index, each in enumerate(products) if not _plainly_right(each)]
        rest = {**tree, "products": []}
    _validate(rest, _schema(), f"{source}: $")
    for index in doubtful:
        one = {"$defs": _schema()["$defs"], "$ref": "#/$defs/product"}
        _validate(products[index], one, f"{source}: $.products[{index}]")


def _validate(tree: Any, schema: Any, where: str) -> None:
    # the first error is enough to refuse, and a huge wrong input has millions
    for error in jsonschema.Draft202012Validator(schema).iter_errors(tree):
        path = brief(error.json_path.removeprefix("$"))
        raise ManifestError(f"{where}{path}: {brief(error.message)}")


def _plainly_right(product: Any) -> bool:
    """Whether a product follows the schema for sure; False says nothing."""
    if type(product) is not dict or "product_id" not in product:
        return False
    return all(key in _RIGHT and _RIGHT[key](value) for key, value in product.items())


def _paths(value: Any) -> bool:
    return type(value) is list and len(value) <= 64 and all(_text(p) and _PATH(p) for p in value)


def _text(value: Any) -> bool:
    return type(value) is str and _TEXT(value) is not None


def _count(value: Any) -> bool:
    return type(value) is int and 0 <= value <= 1_000_000


def _edges(value: Any) -> bool:
    return type(value) is list and len(value) == 3 and all(_within(edge, 100) for edge in value)


def _within(value: Any, limit: float) -> bool:
    return type(value) in (int, float) and 0 <= value <= limit


_RIGHT: Mapping[str, Callable[[Any], object]] = {
    "product_id": lambda value: _text(value) and _NAME(value),
    "reference_images": _paths,
    "quantity": _count,
    "picked": _count,
    "text": _text,
    "weight_kg": lambda value: _within(value, 10_000),
    "dims_m": _edges,
    "embedding_key": lambda value: type(value) is str and len(value) <= 256,
}


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
        reference_images=tuple(product.get("reference_images", ())),
    )

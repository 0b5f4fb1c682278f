# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Embeds the pictures that a cache lacks: here, or spread over workers.

Pictures pass by in batches and are never all in memory. The driver alone writes
the cache; where a picture is embedded, and when, changes nothing in the answer.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
from tqdm import tqdm

from robollm_core.data.broken import BrokenFiles
from robollm_core.data.samples import Picture
from robollm_core.errors import ArtifactError, ConfigError, DatasetError, ImageError
from robollm_core.evaluation.embedding_cache import EmbeddingCache
from robollm_core.evaluation.encoder import Encoder, EncoderSource, Prepared
from robollm_core.images import decode_image
from robollm_core.types import Float32Array

THREADS = 4
"""Files read and decoded at a time; OpenCV and the disk work without Python's lock."""
_NAMED = 256


@dataclass(frozen=True, slots=True)
class Task:
    """One picture to embed.

    Attributes:
        key: its name in the cache.
        picture: where it is.
    """

    key: bytes
    picture: Picture


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """What came back of some tasks.

    Attributes:
        keys: of the n pictures that were embedded.
        outputs: name to (n, ...) float32; empty when n is 0.
        faults: key to reason of those that cannot be.
    """

    keys: Sequence[bytes]
    outputs: Mapping[str, Float32Array]
    faults: Mapping[bytes, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Spread:
    """Over what the work is spread.

    Attributes:
        workers: processes, each with the network; 0 for this process alone.
        ray: address of a Ray cluster, "" for one on this machine.
    """

    workers: int = 0
    ray: str = ""

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> "Spread":
        """Read the options "workers" and "ray".

        Raises:
            ConfigError: If they are not a count and an address, or an address
                comes without a count.
        """
        workers, address = options.get("workers") or 0, options.get("ray") or ""
        if type(workers) is not int or workers < 0 or not isinstance(address, str):
            raise ConfigError(
                f"workers must be a count from 1 and ray an address such as ray://HOST:10001 or "
                f"auto, got {workers!r} and {address!r}."
            )
        if address and not workers:
            raise ConfigError("a Ray cluster also needs --workers N: how many of its processes.")
        return cls(workers, address)


def embed_missing(
    pictures: Sequence[Picture],
    source: EncoderSource,
    cache: EmbeddingCache,
    spread: Spread,
    broken: BrokenFiles,
) -> list[bytes | None]:
    """See that the cache has every picture.

    Args:
        pictures: what to embed; those that show the same are embedded once.
        source: what embeds them.
        cache: of this network; takes what it lacks, batch by batch.
        spread: who works.
        broken: takes what cannot be read, in the order of the pictures.

    Returns:
        The name of each picture in the cache, None where it is broken.

    Raises:
        ArtifactError: If the network is not what it should be, or answers NaN.
        DatasetError: If a file changes meanwhile.
        DependencyError: If workers are asked for and Ray is not installed.
    """
    faults: dict[int, str] = {}
    keys: list[bytes | None] = []
    for name in _named(pictures, source.sight):
        if isinstance(name, str):
            faults[len(keys)] = name
        keys.append(None if isinstance(name, str) else name)
    wanted = cache.missing(key for key in keys if key is not None)
    unreadable = _embed(_tasks(pictures, keys, wanted), source, cache, spread)
    for index, key in enumerate(keys):
        if key is not None and key in unreadable:
            faults[index], keys[index] = unreadable[key], None
    for index in sorted(faults):
        broken.add(pictures[index].path, faults[index])
    return keys


def _named(pictures: Sequence[Picture], sight: str) -> Iterator[bytes | str]:
    """The key of each picture, or why it cannot be read."""
    with (
        ThreadPoolExecutor(THREADS) as pool,
        tqdm(total=len(pictures), desc="look at pictures", unit="", mininterval=1.0) as bar,
    ):
        for part in chunks(pictures, _NAMED):
            yield from pool.map(lambda picture: _name(picture, sight), part)
            bar.update(len(part))


def _name(picture: Picture, sight: str) -> bytes | str:
    try:
        return key_of(picture.path.read_bytes(), picture, sight)
    except OSError as error:
        return f"cannot read the image {picture.path}: {error}"


def key_of(data: bytes, picture: Picture, sight: str) -> bytes:
    """What a picture shows a network: sha256 of file, region and preparation.

    Args:
        data: the whole file.
        picture: says the region.
        sight: `EncoderSource.sight`.
    """
    digest = hashlib.sha256(hashlib.sha256(data).digest())
    digest.update(f"{picture.region!r}|{sight}".encode())
    return digest.digest()


def _tasks(
    pictures: Sequence[Picture], keys: Sequence[bytes | None], wanted: Iterable[bytes]
) -> list[Task]:
    places: dict[bytes, int] = {}
    for index, key in enumerate(keys):
        if key is not None:
            places.setdefault(key, index)
    return [Task(key, pictures[places[key]]) for key in wanted]


def _embed(
    tasks: Sequence[Task], source: EncoderSource, cache: EmbeddingCache, spread: Spread
) -> dict[bytes, str]:
    """Embed the tasks into the cache; gives those that could not be."""
    faults: dict[bytes, str] = {}
    if not tasks:
        return faults
    if spread.workers:
        from robollm_core.evaluation.embedding_ray import spread_out

        answers = spread_out(tasks, source, spread.workers, spread.ray)
    else:
        answers = embed_here(tasks, source)
    with tqdm(total=len(tasks), desc="embed", unit="", mininterval=1.0) as bar:
        for part in answers:
            if part.keys:
                cache.put(part.keys, part.outputs)
            faults.update(part.faults)
            bar.update(len(part.keys) + len(part.faults))
    return faults


def embed_here(tasks: Iterable[Task], source: EncoderSource) -> Iterator[Answers]:
    """Embed tasks in this process; the next batch is decoded while one runs.

    Raises:
        ArtifactError: If the network is not what it should be, or answers NaN.
        DatasetError: If a file is not what it was when the key was made.
    """
    encoder = source.load()
    with ThreadPoolExecutor(THREADS) as pool:
        waiting: list[tuple[list[Task], Iterator[Prepared | str]]] = []
        for part in chunks(tasks, source.batch):
            waiting.append((part, pool.map(lambda t: prepare(t, encoder, source.sight), part)))
            if len(waiting) > 1:
                yield answer(*waiting.pop(0), encoder, source.batch)
        for part, prepared in waiting:
            yield answer(part, prepared, encoder, source.batch)


def prepare(task: Task, encoder: Encoder, sight: str) -> Prepared | str:
    """The input for one picture, or why there is none.

    Raises:
        DatasetError: If the file is not what it was when the key was made.
    """
    path = task.picture.path
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DatasetError(
            f"cannot read {path} any more: {error}. All machines must see the data set under the "
            "same path."
        ) from error
    if key_of(data, task.picture, sight) != task.key:
        raise DatasetError(
            f"{path} is another file than when it was first read. Let the data set rest, and see "
            "that all machines have the same copy and the same version of this package."
        )
    try:
        return encoder.prepare(decode_image(data, str(path)), task.picture)
    except (DatasetError, ImageError) as error:
        return str(error)


def answer(
    tasks: Sequence[Task], inputs: Iterable[Prepared | str], encoder: Encoder, batch: int
) -> Answers:
    """Run a batch of at most `batch` tasks; those of which the input is a text are faults.

    Raises:
        ArtifactError: If the network answers NaN or infinity.
    """
    sound: list[Task] = []
    rows: list[Prepared] = []
    faults: dict[bytes, str] = {}
    for task, row in zip(tasks, inputs, strict=True):
        if isinstance(row, str):
            faults[task.key] = row
        else:
            sound.append(task)
            rows.append(row)
    if not sound:
        return Answers((), {}, faults)
    # always as many: what a network says of a picture must not depend on its neighbours
    rows += [rows[-1]] * (batch - len(rows))
    outputs = {name: one[: len(sound)] for name, one in encoder.run(np.stack(rows)).items()}
    _check_numbers(outputs, sound)
    return Answers([task.key for task in sound], outputs, faults)


def _check_numbers(outputs: Mapping[str, Float32Array], tasks: Sequence[Task]) -> None:
    for name, rows in outputs.items():
        sound = np.isfinite(rows.reshape(len(tasks), -1)).all(axis=1)
        if not sound.all():
            path = tasks[int(np.argmin(sound))].picture.path
            raise ArtifactError(
                f"the network's output {name!r} has NaN or infinity for {path}. An encoder whose "
                "preprocessing is stated wrongly, or that overflows in half precision, does so."
            )


def chunks(things: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """Lists of so many things, the last of what is left."""
    rest = iter(things)
    while part := list(islice(rest, size)):
        yield part

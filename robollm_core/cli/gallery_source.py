# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Where the items of a gallery come from: a folder of images, or a manifest."""

from pathlib import Path

from tqdm import tqdm

from robollm_core.config import Config
from robollm_core.errors import GalleryError
from robollm_core.identification.embedder import Embedder, network_of
from robollm_core.identification.embeddings import Embeddings
from robollm_core.identification.gallery_edit import Collected, collect
from robollm_core.identification.gallery_file import GalleryFile
from robollm_core.identification.references import ReferenceRoot
from robollm_core.manifests import read_manifest
from robollm_core.runtime.artifact import load_artifact
from robollm_core.runtime.factory import load_engine
from robollm_core.runtime.furniture import check_stage, crop_spec, reference_output
from robollm_core.types import ManifestItem


class Source:
    """Items and their images, and the network that embeds them.

    Attributes:
        network: of the configuration.
        root: real path of the folder that all paths start from.
        items: found; their images are not looked at yet.
    """

    def __init__(self, path: Path | None, config: Config) -> None:
        """Look at a source.

        Args:
            path: a folder of ITEM_ID/IMAGE.jpg, or a manifest; None for no items.
            config: the network and perhaps the reference root.

        Raises:
            GalleryError: If it is neither, or a folder without items.
            ManifestError: If it is no manifest.
            ArtifactError: If the network is missing or of another stage.
        """
        self._config = config
        _, self._sidecar = load_artifact(config.identification.artifact)
        check_stage(self._sidecar, "identification")
        self.network = network_of(self._sidecar)
        if path is not None and not path.exists():
            raise GalleryError(f"no {path}. Name a folder of ITEM_ID/IMAGE.jpg, or a manifest.")
        self.root = _root(path, config)
        self.items = _items(path)

    def collect(self, file: GalleryFile) -> Collected:
        """Embed what the file does not have yet.

        Raises:
            GalleryError: If the file cannot be written.
            RuntimeUnavailableError: If the runtime or the device is not there.
            NotFiniteError, RuntimeFailedError: If the network fails.
        """
        chosen = self._config.identification.artifact
        engine = load_engine(chosen, self._config.runtime)
        embedder = Embedder(engine, crop_spec(self._sidecar), reference_output(self._sidecar))
        root = ReferenceRoot(self.root)
        embeddings = Embeddings(embedder, root, file)
        with tqdm(total=len(self.items), desc="embed", unit="item", mininterval=1.0) as bar:
            done = collect(self.items, root, embeddings, bar.update)
        if embeddings.note:
            raise GalleryError(embeddings.note)
        return done


def _root(path: Path | None, config: Config) -> Path:
    chosen = config.identification.reference_root
    if chosen != Config().identification.reference_root or path is None:
        return Path(chosen).resolve()
    return path.resolve() if path.is_dir() else path.resolve().parent


def _items(path: Path | None) -> tuple[ManifestItem, ...]:
    if path is None:
        return ()
    if not path.is_dir():
        return read_manifest(path).items
    folders = sorted(each for each in path.iterdir() if each.is_dir())
    if not folders:
        raise GalleryError(f"{path} has no folder; its images must lie in {path}/ITEM_ID/.")
    return tuple(
        ManifestItem(each.name, reference_images=(str(each.absolute()),)) for each in folders
    )

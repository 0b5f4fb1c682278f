# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Every error robollm raises on purpose.

The message says what was expected, what came and what to do. One family a
kind of input, so that a driver (node, command line) can catch `RobollmError`
and print one line, and a test can name the kind it expects.
"""


class RobollmError(Exception):
    """Base of every deliberate error; its text is meant for the operator."""


class ShapeError(RobollmError, ValueError):
    """An array or tensor has the wrong shape or dtype."""


class NotFiniteError(RobollmError, ValueError):
    """An array holds NaN or infinity where numbers should be."""


class ImageError(RobollmError, ValueError):
    """An image from outside is truncated, empty or of an unsupported encoding."""


class ManifestError(RobollmError, ValueError):
    """A manifest is not JSON, not of the schema, or too large."""


class ConfigError(RobollmError, ValueError):
    """A configuration has an unknown key, a wrong type or a value out of range."""


class ArtifactError(RobollmError):
    """A model file is missing, was tampered with, or disagrees with its sidecar."""


class RuntimeUnavailableError(RobollmError):
    """A runtime or accelerator was asked for and is not there."""


class RuntimeFailedError(RobollmError):
    """A runtime failed while it ran a network, for want of memory for one; the process lives."""


class CacheError(RobollmError):
    """The folder for built engines cannot be written, or another process holds it for too long."""


class CheckpointError(RobollmError):
    """A training checkpoint cannot be read or does not fit the network."""


class DatasetError(RobollmError):
    """A dataset on disk does not have the layout it should have."""


class BagError(RobollmError):
    """A bag is missing, empty, truncated or lacks a needed topic."""


class ParityError(RobollmError):
    """An exported network disagrees with the network it was exported from."""


class DependencyError(RobollmError):
    """An optional package is needed for this verb and is not installed."""


class TrainingError(RobollmError):
    """A run cannot go on: its loss or its gradient is no number any more."""


class OutputError(RobollmError):
    """A result could not be written whole; nothing half-written is left."""


class PickError(RobollmError, ValueError):
    """A pick event is no JSON, does not follow its schema or contradicts one before it."""


class GalleryError(RobollmError):
    """A gallery file is missing, damaged, of another network or cannot be written."""

# SPDX-FileCopyrightText: 2026 The robollm authors
# SPDX-License-Identifier: Apache-2.0
"""Which TensorRT is installed, and what is said when it does not load."""

from types import SimpleNamespace

import pytest

from robollm_core.errors import RuntimeUnavailableError
from robollm_core.runtime import tensorrt_flavour


def module(version):
    return SimpleNamespace(__version__=version, ILogger=object)


@pytest.mark.parametrize(("version", "fits"), [("8.6.1", False), ("10.3.0", True), ("11.4", True)])
def test_a_tensorrt_that_is_too_old_is_refused(version, fits, monkeypatch):
    monkeypatch.setattr(tensorrt_flavour.importlib, "import_module", lambda _: module(version))
    tensorrt_flavour.find_flavour.cache_clear()
    try:
        if fits:
            assert tensorrt_flavour.find_flavour("tensorrt").version == version
        else:
            with pytest.raises(RuntimeUnavailableError, match="version 10 or later, 8.6.1"):
                tensorrt_flavour.find_flavour("tensorrt")
    finally:
        tensorrt_flavour.find_flavour.cache_clear()


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (ImportError("libnvinfer.so.10: cannot open"), "cannot be loaded: libnvinfer"),
        (ModuleNotFoundError("no", name="tensorrt_libs"), "need the Python package 'tensorrt_libs"),
        (ModuleNotFoundError("no", name="tensorrt"), "which is not installed"),
    ],
)
def test_bindings_that_do_not_load_are_told(error, told, monkeypatch):
    def refuse(name):
        raise error

    monkeypatch.setattr(tensorrt_flavour.importlib, "import_module", refuse)
    with pytest.raises(RuntimeUnavailableError, match=told):
        tensorrt_flavour._load("tensorrt")


@pytest.mark.parametrize(
    ("flavour", "target"),
    [("tensorrt", "NVIDIA GeForce RTX 3060 sm86"), ("tensorrt_rtx", "sm86")],
)
def test_the_classic_engine_belongs_to_the_card_and_that_of_rtx_to_its_kind(flavour, target):
    gpu = tensorrt_flavour.Gpu("NVIDIA GeForce RTX 3060", "sm86")
    assert tensorrt_flavour.target_of(flavour, gpu) == target


def test_what_tensorrt_complains_of_is_kept_until_it_is_asked_for():
    pytest.importorskip("tensorrt_rtx_bindings")
    flavour = tensorrt_flavour.find_flavour("tensorrt_rtx")
    severity = flavour.bindings.ILogger.Severity
    flavour.why()
    for level, text in (("INFO", "all is well"), ("ERROR", "no\n kernel"), ("ERROR", "no kernel")):
        flavour.logger.log(getattr(severity, level), text)
    assert flavour.why() == "no kernel"
    assert flavour.why() == ""

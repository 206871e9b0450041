"""`import netpunch`: what it offers, and that it costs next to nothing."""

from __future__ import annotations

import subprocess
import sys

import pytest

import netpunch

HEAVY = {
    "asyncio",
    "cryptography",
    "logging",
    "socket",
    "ssl",
    "typing_extensions",
    "uvloop",
    "yaml",
}


def modules_after(code: str) -> set[str]:
    """The modules that a fresh interpreter has loaded after running `code`."""
    script = f"{code}\nimport sys\nprint(*sys.modules)"
    run = [sys.executable, "-c", script]
    return set(subprocess.run(run, capture_output=True, text=True, check=True).stdout.split())


def test_what_it_offers_is_sorted() -> None:
    assert netpunch.__all__ == sorted(netpunch.__all__)
    assert len(set(netpunch.__all__)) == len(netpunch.__all__)


@pytest.mark.parametrize("name", netpunch.__all__)
def test_everything_it_offers_is_there(name: str) -> None:
    assert getattr(netpunch, name) is not None


def test_everything_that_embedders_need_is_offered() -> None:
    assert {"punch", "serve_control", "End", "ControlNode", "NetpunchError"} < set(netpunch.__all__)


def test_anything_else_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = netpunch.nothing


def test_importing_it_loads_nothing_heavy() -> None:
    assert not modules_after("import netpunch") & HEAVY


def test_catching_its_errors_loads_nothing_heavy() -> None:
    assert not modules_after("from netpunch import NetpunchError") & HEAVY


@pytest.mark.parametrize("arguments", [["--help"], ["version"], ["key", "--help"]])
def test_help_is_quick(arguments: list[str]) -> None:
    quietly = "contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit)"
    code = (
        f"import contextlib, io\nfrom netpunch.cli import main\nwith {quietly}: main({arguments})"
    )
    assert not modules_after(code) & {"asyncio", "cryptography", "ssl", "uvloop", "yaml"}


def test_its_version_is_a_release_number() -> None:
    assert netpunch.__version__.replace(".", "").isalnum()
    assert netpunch.__version__.count(".") >= 2

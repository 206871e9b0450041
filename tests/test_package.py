"""`import netpunch`: what it offers, and that it costs next to nothing."""

from __future__ import annotations

import importlib
import pydoc
import re
import subprocess
import sys
import tomllib
from pathlib import Path

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


def test_what_it_offers_is_seen_by_dir_and_help() -> None:
    assert set(dir(netpunch)) == set(netpunch.__all__)
    shown = pydoc.plain(pydoc.render_doc(netpunch))
    functions = {name for name in netpunch.__all__ if name in ("punch", "serve_control")}
    classes = {name for name in netpunch.__all__ if isinstance(getattr(netpunch, name), type)}
    assert all(f"async {name}(" in shown for name in functions)
    assert all(f"class {name}(" in shown for name in classes)


def test_every_name_that_is_declared_is_offered() -> None:
    """What a type checker sees and what is imported at run time are the same names."""
    homes = netpunch._HOMES
    assert {*homes, "__version__"} == set(netpunch.__all__)
    assert all(getattr(importlib.import_module(home), name) for name, home in homes.items())


def test_what_observers_get_is_offered() -> None:
    events = {"Waiting", "Introduced", "Linked", "Finished", "Failed", "Registered", "Expired"}
    assert {"Event", "Observer", "Datagram", "UsageError"} | events < set(netpunch.__all__)


def test_an_sdist_has_all_that_its_texts_point_to() -> None:
    root = Path(netpunch.__file__).parents[1]
    project = tomllib.loads((root / "pyproject.toml").read_text())
    included = set(project["tool"]["hatch"]["build"]["targets"]["sdist"]["include"])
    texts = [root / "README.md", *(root / "docs").glob("*.md")]
    for text in texts:
        links = re.findall(r"\]\((?!https?:|#)([^)#]+)", text.read_text())
        linked = {(text.parent / link).resolve().relative_to(root) for link in links}
        assert {path.parts[0] for path in linked} <= included, text

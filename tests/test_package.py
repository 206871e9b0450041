"""`import netpunch`: its public names, and what importing it costs."""

from __future__ import annotations

import ast
import importlib
import inspect
import pydoc
import re
import subprocess
import sys
import tomllib
import typing
from pathlib import Path

import pytest

import netpunch
from netpunch.cli.new_site import contrib

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


@pytest.mark.parametrize("name", netpunch.__all__)
def test_every_public_name_can_be_imported_and_has_a_docstring(name: str) -> None:
    public = getattr(netpunch, name)
    assert public is not None
    if isinstance(public, type) or inspect.isfunction(public):
        assert (public.__doc__ or "").strip(), name
        assert not (public.__doc__ or "").startswith(f"{name}("), "it has no docstring of its own"


def test_type_checkers_see_the_public_names_and_no_others() -> None:
    """What is imported under TYPE_CHECKING is what `__getattr__` imports at run time."""
    tree = ast.parse(Path(netpunch.__file__).read_text())
    (checked,) = [node for node in tree.body if isinstance(node, ast.If)]
    declared = {
        alias.asname: node.module
        for node in checked.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.name == alias.asname
    }
    assert declared == netpunch._HOMES
    assert {*declared, "__version__"} == set(netpunch.__all__)


def test_a_name_has_the_same_meaning_in_its_own_module() -> None:
    for name, home in netpunch._HOMES.items():
        assert getattr(importlib.import_module(home), name) is getattr(netpunch, name)


def members(alias: object) -> set[str]:
    """The names of the classes in a union."""
    return {each.__name__ for each in typing.get_args(alias)}


def test_every_event_and_every_error_is_public() -> None:
    public = set(netpunch.__all__)
    errors = {
        name
        for name, each in vars(importlib.import_module("netpunch.errors")).items()
        if isinstance(each, type) and issubclass(each, netpunch.NetpunchError)
    }
    assert members(netpunch.Event) <= public
    assert errors <= public


CONTRIB = Path(netpunch.__file__).parents[1] / "contrib"


@pytest.mark.parametrize("program", sorted(CONTRIB.glob("*.py")), ids=lambda path: path.name)
def test_contrib_uses_public_names_only(program: Path) -> None:
    tree = ast.parse(program.read_text())
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    imported = {alias.name for node in imports for alias in node.names}
    modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    used = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "netpunch"
    }
    assert "netpunch" in imported
    assert not {name for name in imported | modules if str(name).startswith("netpunch.")}
    assert used <= set(netpunch.__all__)


def test_an_unknown_name_of_the_package_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'") as caught:
        _ = netpunch.nothing
    assert (caught.value.name, caught.value.obj) == ("nothing", netpunch), "Python guesses by them"


def test_importing_netpunch_loads_nothing_heavy() -> None:
    assert not modules_after("import netpunch") & HEAVY


def test_importing_an_error_loads_nothing_heavy() -> None:
    assert not modules_after("from netpunch import NetpunchError") & HEAVY


@pytest.mark.parametrize("arguments", [["--help"], ["version"], ["key", "--help"]])
def test_help_loads_nothing_heavy(arguments: list[str]) -> None:
    quietly = "contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(SystemExit)"
    code = (
        f"import contextlib, io\nfrom netpunch.cli import main\nwith {quietly}: main({arguments})"
    )
    assert not modules_after(code) & {"asyncio", "cryptography", "ssl", "uvloop", "yaml"}


def test_the_version_is_a_release_number() -> None:
    assert netpunch.__version__.replace(".", "").isalnum()
    assert netpunch.__version__.count(".") >= 2


def test_dir_and_help_show_every_public_name() -> None:
    assert set(dir(netpunch)) == set(netpunch.__all__)
    names = set(netpunch.__all__) - {"__version__"}
    assert names <= set(re.findall(r"\w+", netpunch.__doc__ or ""))
    shown = pydoc.plain(pydoc.render_doc(netpunch))
    classes = {name for name in names if inspect.isclass(getattr(netpunch, name))}
    functions = {name for name in names if inspect.isfunction(getattr(netpunch, name))}
    assert all(re.search(rf"\bclass {name}\b", shown) for name in classes - {"Via"})
    assert all(f" {name}(" in shown for name in functions)


def test_an_sdist_has_all_that_its_documents_link_to() -> None:
    root = Path(netpunch.__file__).parents[1]
    project = tomllib.loads((root / "pyproject.toml").read_text())
    included = set(project["tool"]["hatch"]["build"]["targets"]["sdist"]["include"])
    texts = [root / "README.md", *(root / "docs").glob("*.md")]
    for text in texts:
        links = re.findall(r"\]\((?!https?:|#)([^)#]+)", text.read_text())
        linked = {(text.parent / link).resolve().relative_to(root) for link in links}
        assert {path.parts[0] for path in linked} <= included, text


def test_the_wheel_has_the_hooks_and_units_that_init_and_join_name() -> None:
    root = Path(netpunch.__file__).parents[1]
    project = tomllib.loads((root / "pyproject.toml").read_text())
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel["force-include"] == {"contrib": "netpunch/contrib"}
    assert (contrib() / "hooks" / "wireguard").is_file()

"""The rules of the layout: imports between packages go one way, and files stay small."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import netpunch

ROOT = Path(netpunch.__file__).parent
MODULES = {
    ".".join(["netpunch", *path.relative_to(ROOT).with_suffix("").parts]).removesuffix(
        ".__init__"
    ): path
    for path in sorted(ROOT.rglob("*.py"))
}
LONGEST_FILE = 700
"""Lines: a longer file is seldom one concept."""

PLAIN = {"errors", "address", "mesh", "reasons", "redacted", "template", "tunnels", "_version"}
"""Top-level modules that every package may use. They import no package, and of each other only:"""
PLAIN_IMPORTS = {"template": {"errors"}, "errors": {"reasons"}}

MAY_IMPORT = {
    "wire": {"address", "errors", "mesh"},
    "core": {"wire", "address", "errors", "reasons", "redacted"},
    "net": {"core", "wire", "address", "errors", "reasons", "redacted", "tunnels"},
    "config": {"core", "address", "errors", "mesh", "redacted", "template"},
    "output": {"address", "errors", "mesh", "reasons", "template"},
    "node": {"net", "core", "wire", "config", "output"} | PLAIN,
    "arguments": {"core", "config", "address", "errors", "mesh"},
    "keys": {"arguments", "core", "config", "wire", "errors", "mesh"},
    "api": {"arguments", "keys", "net", "core", "wire", "config", "address", "errors", "reasons"},
    "doctor": {"keys", "node", "net", "core", "wire", "config", "output"} | PLAIN,
    "cli": {"", "api", "keys", "doctor", "node", "net", "core", "wire", "config", "output"} | PLAIN,
}
"""The arrows: wire <- core <- net <- node <- cli; config and output on their own beside net (config
takes only settings and defaults from core), the library's calls (`keys` and `api`) beside node,
`doctor` between node and cli. The empty name is the package itself, which offers what programs
call."""

OUTSIDE_OF_CORE = {"asyncio", "logging", "os", "random", "secrets", "select", "socket", "time"}
"""Time, randomness and sockets come into the core from its driver."""


WALL_CLOCKS = {"time.time", "time.time_ns", "datetime.now", "datetime.utcnow", "datetime.today"}
STAMPING = {
    "netpunch.node.control_task",
    "netpunch.cli.exchange_log",
    "netpunch.node.end_moves",
    "netpunch.node.end_task",
    "netpunch.node.monitoring",
    "netpunch.output.journal",
    "netpunch.output.status_model",
}
"""Modules that put time stamps on output. None of them decides anything by the time."""

OPENING_SOCKETS = {
    "netpunch.net.sockets",
    "netpunch.net.tcp",
    "netpunch.net.interfaces",
    "netpunch.net.netlink",
    "netpunch.net.raw_socket",
    "netpunch.net.routes",
}
"""Those that make sockets, for datagrams and for TLS, and those that only ask the system
something."""
BINDING = {
    "netpunch.net.listener",
    "netpunch.net.forward",
    "netpunch.net.controls",
    "netpunch.net.driver",
    "netpunch.net.port_mapping",
}
"""For a control, for a program, and by default for the three that an end gives its own (made by
`net.sockets.binder`)."""


def imports(path: Path, module: str) -> Iterator[str]:
    """Every module that a file imports, wherever in it: in functions, under TYPE_CHECKING."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module} imports relatively: its arrows are hard to see"
            assert node.module
            yield from (_imported(node.module, alias.name) for alias in node.names)


def _imported(module: str, name: str) -> str:
    """`from netpunch.core.settings import EndSettings
    from netpunch.core import timing` imports a module, `from netpunch.core.x import y`
        does not."""
    full = f"{module}.{name}"
    return full if full in MODULES else module


def part(module: str) -> str:
    """`core` of `netpunch.core.end.end`, `errors` of `netpunch.errors`."""
    return module.split(".")[1] if "." in module else ""


OF_PACKAGES = {name: path for name, path in MODULES.items() if part(name) in MAY_IMPORT}


def test_every_package_has_its_place_in_the_layers() -> None:
    packages = {path.parent.name for path in ROOT.glob("*/__init__.py")}
    assert packages | {"arguments", "keys"} == set(MAY_IMPORT)


@pytest.mark.parametrize("module", OF_PACKAGES)
def test_a_package_imports_only_from_lower_layers(module: str) -> None:
    own = {name for name in imports(OF_PACKAGES[module], module) if name.startswith("netpunch")}
    allowed = MAY_IMPORT[part(module)] | {part(module)}
    assert not {name for name in own if part(name) not in allowed}


@pytest.mark.parametrize("module", sorted(PLAIN))
def test_shared_modules_import_no_package(module: str) -> None:
    own = {n for n in imports(ROOT / f"{module}.py", module) if n.startswith("netpunch")}
    assert {part(name) for name in own} <= PLAIN_IMPORTS.get(module, set())


def test_no_module_imports_itself_through_others() -> None:
    """Not even for types: what cannot be read in one order is two halves of one concept."""
    graph = {
        module: {each for each in imports(path, module) if each in OF_PACKAGES} - {module}
        for module, path in OF_PACKAGES.items()
    }
    TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


@pytest.mark.parametrize("module", [name for name in MODULES if part(name) == "core"])
def test_the_core_does_no_input_or_output(module: str) -> None:
    assert not {name.split(".")[0] for name in imports(MODULES[module], module)} & OUTSIDE_OF_CORE


def wall_clocks(path: Path) -> Iterator[str]:
    """The uses of settable clocks in a file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            name = f"{node.value.id}.{node.attr}"
            if name in WALL_CLOCKS:
                yield name


@pytest.mark.parametrize("module", sorted(MODULES.keys() - STAMPING))
def test_only_time_stamps_come_from_a_clock_that_may_be_set(module: str) -> None:
    assert not list(wall_clocks(MODULES[module]))


def calls(path: Path) -> Iterator[str]:
    """`socket.socket` for each socket.socket() in a file."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            yield ast.unparse(node.func)


@pytest.mark.parametrize(
    "module", [name for name in MODULES if part(name) == "net" and name not in OPENING_SOCKETS]
)
def test_sockets_that_send_are_opened_with_the_options_of_their_end(module: str) -> None:
    """By `net.sockets.binder`: other sockets leave a host by another way."""
    assert "socket.socket" not in calls(MODULES[module])
    if module not in BINDING:
        assert "bind" not in names_imported(MODULES[module], "netpunch.net.sockets")


def names_imported(path: Path, module: str) -> set[str]:
    """What a file imports from a module."""
    found = (node for node in ast.walk(ast.parse(path.read_text())) if type(node) is ast.ImportFrom)
    return {alias.name for node in found if node.module == module for alias in node.names}


@pytest.mark.parametrize("module", MODULES)
def test_every_module_has_a_docstring(module: str) -> None:
    assert ast.get_docstring(ast.parse(MODULES[module].read_text())) or module.endswith("_version")


@pytest.mark.parametrize("module", MODULES)
def test_files_stay_small(module: str) -> None:
    assert len(MODULES[module].read_text().splitlines()) <= LONGEST_FILE

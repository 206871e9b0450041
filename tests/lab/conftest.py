"""What the lab's tests need; where it is missing, they are skipped and say why."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator

import pytest

from tests.lab.namespace import Namespace, remove_stale_namespaces
from tests.lab.network import Lab

TOOLS = ("ip", "nft")
PROBE_RULES = """
    table ip nat {
        chain postrouting { type nat hook postrouting priority srcnat; masquerade; }
    }
"""
"""The lab's own rules are not among them: an error in those must fail tests, not skip them."""


@pytest.fixture(scope="session")
def _namespaces() -> None:
    """Skip what cannot run here; remove what a killed run left behind."""
    if reason := _missing():
        pytest.skip(f"the lab needs {reason}")
    remove_stale_namespaces()


@pytest.fixture
def lab(_namespaces: None) -> Iterator[Lab]:
    """An IPv4 internet."""
    with Lab() as lab:
        yield lab


@pytest.fixture
def ipv6_lab(_namespaces: None) -> Iterator[Lab]:
    """An IPv6 internet."""
    with Lab(ipv4=False, ipv6=True) as lab:
        yield lab


@pytest.fixture
def dual_lab(_namespaces: None) -> Iterator[Lab]:
    """An internet of both families."""
    with Lab(ipv6=True) as lab:
        yield lab


def _missing() -> str:
    if os.geteuid() != 0:
        return "root"
    for tool in TOOLS:
        if shutil.which(tool) is None:
            return tool
    try:
        namespace = Namespace("probe")
        try:
            namespace.run("nft", "-f", "-", stdin=PROBE_RULES)
        finally:
            namespace.delete()
    except (OSError, RuntimeError, subprocess.SubprocessError) as error:
        return f"network namespaces with NAT: {error}"
    return ""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

import pytest

from netpunch import tunnels
from netpunch.address import Address
from netpunch.net.diagnosis import refusals, tunnel_towards

FIREWALL = "the system refuses to send (3 x EPERM): a firewall on this host?"


@pytest.mark.parametrize(
    ("errors", "to_control", "told"),
    [
        ({}, True, ""),
        ({"EPERM": 3}, True, FIREWALL),
        ({"EPERM": 3}, False, FIREWALL),
        ({"EPERM": 3, "ENETUNREACH": 100}, False, FIREWALL),
        ({"ENETUNREACH": 100}, False, ""),
        (
            {"EPERM": 3, "ENETUNREACH": 100},
            True,
            "the system refuses to send (100 x ENETUNREACH): is there a network, and a route?",
        ),
        ({"EINVAL": 2}, True, "the system refuses to send (2 x EINVAL)"),
    ],
)
def test_refusals_name_the_most_frequent_error_and_its_cause(
    errors: dict[str, int], to_control: bool, told: str
) -> None:
    assert refusals(Counter(errors), to_control=to_control) == told


@pytest.mark.skipif(sys.platform != "linux", reason="rtnetlink is Linux's")
def test_a_route_into_a_tunnel_is_reported_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tunnels, "INTERFACES", tmp_path)
    here = Address("127.0.0.1", 5000)
    assert tunnel_towards([here]) == ""
    (tmp_path / "lo").mkdir()
    (tmp_path / "lo" / "uevent").write_text("INTERFACE=x\nDEVTYPE=wireguard\n")
    told = tunnel_towards([here])
    assert told.startswith("the route to 127.0.0.1:5000 leads into the tunnel lo")
    assert "`mark: 51820`" in told
    assert "`interface:`" in told

from __future__ import annotations

from collections import Counter

import pytest

from netpunch.net.refusals import refusals

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
def test_what_is_told(errors: dict[str, int], to_control: bool, told: str) -> None:
    assert refusals(Counter(errors), to_control=to_control) == told

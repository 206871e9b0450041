"""netpunch.cli.arguments: wrong values are told with an example of a right one."""

from __future__ import annotations

import argparse

import pytest

from netpunch.cli.arguments import control_address, duration, local_address, pair_name


def test_right_ones() -> None:
    assert pair_name("home-office") == "home-office"
    assert str(local_address(":5000")) == ":5000"
    assert str(local_address("[::1]:0")) == "[::1]:0"
    assert str(control_address("vps.example.net:7777")) == "vps.example.net:7777"
    assert duration("2m") == 120.0


@pytest.mark.parametrize(
    ("parse", "text", "complaint"),
    [
        (pair_name, "Home", "'Home' is no name of a pair: give "),
        (pair_name, "a" * 33, "is no name of a pair: give "),
        (local_address, "5000", "'5000' is a port without its colon: give "),
        (local_address, "::1:5000", "brackets"),
        (local_address, ":99999", "':99999' has no port "),
        (control_address, ":7777", "':7777' names no host: give "),
        (control_address, "vps.example.net:0", "has port 0: give "),
        (duration, "60", "'60' has no unit: give "),
    ],
)
def test_wrong_ones(parse: object, text: str, complaint: str) -> None:
    assert callable(parse)
    with pytest.raises(argparse.ArgumentTypeError) as raised:
        parse(text)
    assert complaint in str(raised.value)

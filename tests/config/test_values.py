"""Texts to values."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from netpunch.config import values
from netpunch.config.values import HostPort, complaint


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("10s", 10), ("1.5h", 5400), ("5m", 300), ("365d", 31536000), ("2 s", 2)],
)
def test_durations_become_seconds(text: str, seconds: float) -> None:
    assert values.duration(text) == seconds


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        (":0", "", 0),
        (":65535", "", 65535),
        ("vps.example.net:010", "vps.example.net", 10),
        ("vps.example.net.:1", "vps.example.net.", 1),
        ("my_host-1:1", "my_host-1", 1),
        ("192.0.2.1:1", "192.0.2.1", 1),
        ("[2001:DB8::0]:1", "2001:db8::", 1),
        ("[::ffff:192.0.2.1]:1", "192.0.2.1", 1),
        ("[::]:1", "::", 1),
    ],
)
def test_addresses_are_split_and_canonical(text: str, host: str, port: int) -> None:
    assert values.host_port(text) == HostPort(host, port)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "[]:1",
        "[:1",
        "]:1",
        "a..b:1",
        "-a:1",
        "a-:1",
        "256.0.0.1:1",
        "1:1",
        "a:1:1",
        "[::1]x:1",
        ":1_0",
        ":+1",
        ":\u0661",
        ":123456",
        ": 1",
        f"{'a' * 64}:1",
        f"{'a.' * 127}aa:1",
        "caf\xe9:1",
        "a/b:1",
    ],
)
def test_a_text_that_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        values.host_port(text)


@pytest.mark.parametrize(
    ("convert", "right", "wrong"),
    [
        (values.bound_host_port, ":1", ":0"),
        (values.reachable_host_port, "a:1", ":1"),
        (values.reachable_host_port, "a:1", "0.0.0.0:1"),
        (values.reachable_host_port, "a:1", "[::]:1"),
        (values.reachable_host_port, "a:1", "[::ffff:0.0.0.0]:1"),
        (values.public_host, "home.example.net", "198.51.100.7:10001"),
        (values.public_host, "198.51.100.7", "192.168.1.1"),
        (values.public_host, "2001:db8::1", "fd00::1"),
        (values.public_host, "10.example.net", "10.0.0.1"),
        (values.public_host, "a", "127.0.1.1"),
        (values.public_host, "a", "::"),
        (values.public_host, "a", "-"),
        (values.public_host, "a", ""),
        (values.rate, "10/s", "9.9/s"),
        (values.bit_rate, "64kbit/s", "63kbit/s"),
        (values.bit_rate, "64000 bit/s", "64000"),
        (values.bit_rate, "100Gbit/s", "101Gbit/s"),
        (values.bit_rate, "1.5Mbit/s", "1.5MB/s"),
        (values.slots, "z-y", "a-d"),
        (values.slots, "a-b", "ab"),
        (values.slots, "c-d", "b-c"),
        (values.slots, "a-b", "A-B"),
        (values.slots, "a-b", "a-b-"),
        (values.node_name, "VPS.Example_1", "a b"),
        (values.node_name, "x" * 253, "x" * 254),
        (values.node_name, "1", "-"),
        (values.node_name, "1", "a\n"),
        (values.file_mode, "0640", "1640"),
        (values.file_mode, "640", "064"),
        (values.switch, "YES", "y"),
    ],
)
def test_each_kind_of_value_accepts_and_refuses(
    convert: Callable[[str], object], right: str, wrong: str
) -> None:
    convert(right)
    with pytest.raises(ValueError):
        convert(wrong)


@pytest.mark.parametrize(
    ("convert", "text", "reason"),
    [
        (values.duration, "10", ": no unit"),
        (values.duration, "soon", ""),
        (values.host_port, "5000", ": no colon before the port"),
        (values.host_port, "::1:5000", ": more than one colon (write an IPv6 address in brackets)"),
        (values.reachable_host_port, "a:0", ": port 0 is not allowed"),
        (values.public_host, "a:1", ": neither an IP address nor a host name"),
    ],
)
def test_a_complaint_says_what_is_expected_what_is_there_and_why_it_is_wrong(
    convert: Callable[[str], object], text: str, reason: str
) -> None:
    with pytest.raises(ValueError) as caught:
        convert(text)
    assert complaint("X", repr(text), str(caught.value)) == f"expected X, got {text!r}{reason}"


def test_switches_have_three_words_for_each_state() -> None:
    assert [values.switch(text) for text in ("on", "True", "yes")] == [True] * 3
    assert [values.switch(text) for text in ("off", "False", "no")] == [False] * 3


def test_names_of_nodes_ignore_case() -> None:
    assert values.node_name("VPS") == "vps"


@pytest.mark.parametrize("name", ["a", "0", "home-office", "x" * 32, "a-"])
def test_valid_names_of_pairs(name: str) -> None:
    assert values.PAIR_NAME.fullmatch(name)


@pytest.mark.parametrize("name", ["", "-a", "A", "a_b", "a.b", "x" * 33, "a\n", "\xe9"])
def test_invalid_names_of_pairs(name: str) -> None:
    assert not values.PAIR_NAME.fullmatch(name)


def test_a_number_of_any_length_is_refused_quickly() -> None:
    for convert in (values.duration, values.rate, values.bit_rate):
        with pytest.raises(ValueError, match=r"^$"):
            convert("9" * 100_000 + "s")

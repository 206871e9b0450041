"""What programs call: wrong arguments raise before anything is opened."""

from __future__ import annotations

import asyncio
import decimal
import inspect
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import netpunch
from netpunch.errors import NetpunchError, UsageError

SECRET = bytes(range(32))
PAIR = "home-office"
PAIR_KEY = netpunch.new_key()
CONTROL_KEY = netpunch.control_key(PAIR_KEY, PAIR)

PUNCH: dict[str, Any] = {"pair": PAIR, "end": "a", "secret": SECRET, "control": "127.0.0.1:9"}
CLASSIC: dict[str, Any] = {"pair": "", "protocol": "classic", "secret": b"x"}


def complaint(call: Callable[..., Any], **passed: Any) -> str:
    """What a call says about its arguments: the call itself, which needs no event loop."""
    with pytest.raises(UsageError) as caught:
        call(**passed)
    return str(caught.value)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"pair": "Home Laptop"}, r"pair: .*a-z.*'Home Laptop' \(did you mean 'home-laptop'\?\)"),
        ({"pair": ""}, "pair: expected a pair's name, the same on control and both ends"),
        ({"pair": "x" * 33}, r"\(did you mean '" + "x" * 32),
        ({"pair": None}, "pair: .* got None"),
        ({"pair": "m.b.a"}, r"m\.a\.b: a mesh's pair has its nodes in alphabetical order"),
        ({"end": "c"}, "end: expected 'a' or 'b', got 'c'"),
        ({"end": "A"}, r"\(did you mean 'a'\?\)"),
        ({"end": 0}, "end: expected 'a' or 'b', got 0"),
        ({"protocol": "v3"}, "protocol: expected 'v2' or 'classic', got 'v3'"),
        ({"protocol": "clasic"}, r"\(did you mean 'classic'\?\)"),
        ({"protocol": None}, "protocol: expected 'v2' or 'classic', got None"),
        ({"candidates": ["observd"]}, r"'relay', got 'observd' \(did you mean 'observed'\?\)"),
        ({"candidates": "observed"}, r"a list of 'observed', .* \(did you mean \['observed'\]\?\)"),
        ({"candidates": "host, relay"}, r"\(did you mean \['host', 'relay'\]\?\)"),
        ({"candidates": ["any-port"]}, "no address is left to try: add 'observed', 'host' or 'map"),
        ({"candidates": []}, "candidates: no address is left to try"),
        ({"candidates": None}, "candidates: expected a list"),
        ({"candidates": [["host"]]}, "candidates: expected 'observed'"),
        ({"local": 5000}, r"local: .* got 5000 \(did you mean ':5000'\?\)"),
        ({"local": "5000"}, r"got '5000': no colon .* \(did you mean ':5000'\?\)"),
        ({"local": "localhost:5000"}, r"not a host name, got 'localhost:5000' \(did you mean ':50"),
        ({"local": "127.0.0.1"}, "local: expected an address.*, got '127.0.0.1': no port"),
        ({"local": ("127.0.0.1", 0)}, r"type tuple \(did you mean '127\.0\.0\.1:0'\?\)"),
        ({"local": None}, r"got None \(did you mean ':0'\?\)"),
        ({"local": "*:5000"}, r"\(did you mean ':5000'\?\)"),
        ({"control": []}, "control: .* got an empty list"),
        ({"control": None}, "control: expected one host:port"),
        ({"control": b"vps:1"}, "control: .* got a value of type bytes"),
        ({"control": ("vps", 10001)}, r"control: .* type tuple \(did you mean 'vps:10001'\?\)"),
        ({"control": netpunch.Address("::1", 1)}, r"\(did you mean '\[::1\]:1'\?\)"),
        ({"control": ("vps", "vps:1")}, "control: .*, got 'vps': no port$"),
        ({"control": "udp://vps:10001/"}, r"\(did you mean 'vps:10001'\?\)"),
        ({"control": "vps:1, other:2"}, r"\(did you mean \['vps:1', 'other:2'\]\?\)"),
        ({"control": 10001}, "control: .* got 10001$"),
        ({"control": "vps:http"}, "control: .*, got 'vps:http': no port from 1 to 65535"),
        ({"control": "vps:0"}, "with a host and a port above 0"),
        ({"control": ":10001"}, "with a host and a port above 0"),
        ({"control": "0.0.0.0:10001"}, "with a host and a port above 0"),
        ({"control": "2001:db8::1:1"}, r"in brackets\) \(did you mean '\[2001:db8::1\]:1'\?\)"),
        ({"deadline": "60s"}, r"deadline: expected seconds, .* got '60s' \(did you mean 60\.0\?\)"),
        ({"deadline": "60"}, r"\(did you mean 60\.0\?\)"),
        ({"deadline": 0}, "deadline: .* above 0 .* got 0"),
        ({"deadline": -1.5}, "got -1.5"),
        ({"deadline": math.nan}, "got nan"),
        ({"deadline": math.inf}, "got inf"),
        ({"deadline": True}, "got a value of type bool"),
        ({"observer": "print"}, "observer: expected a function, or None, got 'print'"),
        (
            {"secret": b"short"},
            "secret: expected a v2 key: 32 bytes, .* got 5 bytes; `net",
        ),
        ({"secret": "hunter2"}, "secret: expected a v2 key: .* got a text that is no key"),
        ({"secret": "home.key"}, r"pass a file by its Path, as in Path\('chat\.key'\)"),
        ({"secret": PAIR_KEY[:-1]}, "secret: damaged key"),
        ({"secret": PAIR_KEY[:-1].encode()}, "secret: damaged key"),
        ({"secret": CONTROL_KEY}, "secret: this is control's key"),
        ({"secret": None}, "got NoneType"),
        (CLASSIC | {"end": "A"}, "end: expected a classic slot, a letter from 'a' to 'z', got 'A'"),
        (CLASSIC | {"end": "ab"}, "a letter from 'a' to 'z'"),
        (CLASSIC | {"end": ""}, "a letter from 'a' to 'z'"),
        (CLASSIC | {"pair": PAIR}, "pair: expected '' with protocol='classic'"),
        (CLASSIC | {"secret": b""}, "secret: expected a classic secret: .* got none"),
        (CLASSIC | {"secret": "hunter2"}, "got a text: encode it"),
    ],
)
def test_punch_names_the_wrong_argument_and_what_it_expects(
    wrong: dict[str, Any], said: str
) -> None:
    text = complaint(netpunch.punch, **(PUNCH | wrong))
    assert re.search(said, text), text
    assert not any(word in text for word in ("hunter2", "home.key", PAIR_KEY[5:20]))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"listen": 10001}, r"listen: .* \(did you mean ':10001'\?\)"),
        ({"listen": "10001"}, r"listen: .* \(did you mean ':10001'\?\)"),
        ({"listen": []}, "listen: .* got an empty list"),
        ({"listen": "vps.example.net:10001"}, r"listen: .* \(did you mean ':10001'\?\)"),
        ({"pairs": [PAIR]}, "pairs: expected a mapping of pair names to keys, .* type list"),
        ({"pairs": {"Home": SECRET}}, r"pairs: .* got 'Home' \(did you mean 'home'\?\)"),
        ({"pairs": {PAIR: b"short"}}, r"pairs\['home-office'\]: expected a v2 key: .* got 5 bytes"),
        ({"pairs": {PAIR: None}}, r"pairs\['home-office'\]: .* got NoneType"),
        ({"classic": {"a-b": b"x"}}, "classic: expected a classic slot, .* got '-'"),
        ({"classic": {"ab": b"x", "b": b"y"}}, "classic: slot 'b' is given twice"),
        ({"classic": {1: b"x"}}, "classic: expected a mapping of slot letters"),
        ({"classic": {"ab": "x"}}, r"classic\['ab'\]: .* got a text: encode it"),
        ({"classic": b"x"}, "classic: expected a mapping"),
        ({"expire": "60s"}, r"expire: .* \(did you mean 60\.0\?\)"),
        ({"expire": 0}, "expire: .* above 0"),
        ({"classic": {"ab": b"x"}, "pairs": {"a-b": SECRET}}, "pairs: 'a-b' is what a pair of `cl"),
        ({"public": "10.0.0.1"}, "public: .*'10.0.0.1': a private address, which is unreachable"),
        ({"public": ["vps", 4]}, "public: expected a host name or a public IP address, .*got 4"),
        ({"public": 4}, "public: expected a host name or a public IP address, .*got 4"),
        ({"public": "-"}, "neither an IP address nor a host name"),
        ({"observe": 10002}, r"observe: .* \(did you mean ':10002'\?\)"),
        ({"observe": None}, "observe: .* got None"),
        ({"relay": 10003}, r"relay: .* \(did you mean ':10003'\?\)"),
        ({"relay": ["127.0.0.1:1", "127.0.0.2:2"]}, "relay: expected one port for all addresses"),
        ({"relay": ["127.0.0.1:0", "127.0.0.2:0"]}, "relay: expected one port for all addresses"),
        ({"relay_ports": 2}, 'relay_ports: without `relay` it has no use: add `relay=":10003"`'),
        ({"relay": ":1", "relay_ports": 257}, "relay_ports: expected at most 256, got 257"),
        ({"relay": ":0", "relay_ports": 2}, "relay_ports: needs a port in `relay`, such as"),
        ({"relay_rate": 1e6}, 'relay_rate: without `relay` it has no use: add `relay=":10003"`'),
        ({"relay": ":1", "relay_rate": 1e9}, "relay_rate: `relay_rate` is above `relay_total`"),
        ({"relay_rate": "5Mbit/s"}, r"expected bits a second, .* \(did you mean 5000000\.0\?\)"),
        ({"relay_rate": 5}, "relay_rate: expected bits a second, a number from 64e3 to 100e9, got"),
        ({"tls": ":443"}, 'tls: without `relay` nothing could be linked .* add `relay=":10003"`'),
        ({"tls": 443}, r"tls: .* \(did you mean ':443'\?\)"),
        ({"tls_key": Path("k")}, 'tls_key: without `tls` it has no use: add `tls=":443"`'),
        ({"relay": ":1", "tls": ":2", "tls_key": Path("k")}, "tls_key: `tls_certificate` is miss"),
        ({"tls_certificate": "c.pem"}, r"tls_certificate: .* \(did you mean PosixPath\('c.pem'\)"),
        ({"max_pairs": 0}, "max_pairs: expected a whole number above 0, got 0"),
        ({"max_pairs": "5"}, r"\(did you mean 5\?\)"),
        ({"max_pairs": 1.5}, "got 1.5"),
        ({"on_event": 1}, "on_event: expected a function, or None, got 1"),
        ({"observer": 1}, "observer: expected a function"),
    ],
)
def test_start_control_names_the_wrong_argument_and_what_it_expects(
    wrong: dict[str, Any], said: str
) -> None:
    assert re.search(said, text := complaint(netpunch.start_control, **wrong)), text


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"pair": "Home"}, r"pair: .*\(did you mean 'home'\?\)"),
        ({"end": "A"}, r"end: expected 'a' or 'b', got 'A' \(did you mean 'a'\?\)"),
        ({"secret": CONTROL_KEY}, "secret: this is control's key"),
        ({"control": "vps"}, "control: .*, got 'vps': no port"),
        ({"local": 5000}, r"local: .* \(did you mean ':5000'\?\)"),
        ({"candidates": ["mappd"]}, r"\(did you mean 'mapped'\?\)"),
        ({"sealed": "no"}, "sealed: expected True or False, got 'no'"),
        ({"keepalive": "15s"}, r"keepalive: expected seconds, .* \(did you mean 15\.0\?\)"),
        ({"hold_for": 20}, "hold_for: expected the time of 2 keepalives or more, 30, got 20"),
        ({"observer": 1}, "observer: expected a function"),
        ({"observer": asyncio.sleep}, "observer: .* got a coroutine function, which nobody would"),
        ({"hold_fr": 60}, "there is no argument 'hold_fr'; did you mean hold_for"),
    ],
)
def test_link_and_its_endpoint_name_the_wrong_argument(wrong: dict[str, Any], said: str) -> None:
    passed = PUNCH | wrong
    for text in (
        complaint(netpunch.link, **passed),
        complaint(netpunch.create_link_endpoint, protocol_factory=asyncio.Protocol, **passed),
    ):
        assert re.search(said, text), text


@pytest.mark.parametrize(
    ("call", "args", "passed", "said"),
    [
        ("punch", (), {"pairs": PAIR}, "there is no argument 'pairs'; did you mean pair"),
        (
            "punch",
            (),
            {"zzz": 1},
            "there is no argument 'zzz'; it takes pair, end, secret, control",
        ),
        ("link", (), {"key": PAIR_KEY}, "no argument 'key'; did you mean secret"),
        ("link", (), {"timeout": 5}, "no argument 'timeout'; did you mean deadline"),
        ("start_control", (), {"key": PAIR_KEY}, "no argument 'key'; did you mean pairs"),
        ("start_control", (), {"port": 1}, "no argument 'port'; did you mean listen"),
        ("punch", (), {"pair": PAIR}, "missing a required argument: 'end'; it takes pair, end"),
        ("punch", (PAIR, "a"), {}, "arguments are passed by name, such as pair='home-office'"),
        ("punch", (PAIR_KEY,), {}, "arguments are passed by name, such as pair=a key"),
        ("start_control", (), {"listne": ":1"}, "no argument 'listne'; did you mean listen"),
        ("control_key", (PAIR_KEY,), {}, "missing a required argument: 'pair'; it takes key, pair"),
        ("new_key", (PAIR_KEY,), {}, "too many positional arguments"),
    ],
)
def test_a_call_says_what_its_arguments_are_called(
    call: str, args: tuple[str, ...], passed: dict[str, Any], said: str
) -> None:
    with pytest.raises(UsageError) as caught:
        getattr(netpunch, call)(*args, **passed)
    assert re.search(said, text := str(caught.value)), text
    assert text.startswith(f"{call}(): ")
    assert PAIR_KEY not in text


@pytest.mark.parametrize("factory", [None, asyncio.DatagramProtocol(), asyncio.sleep])
def test_a_protocol_is_made_by_a_function(factory: Any) -> None:
    text = complaint(netpunch.create_link_endpoint, protocol_factory=factory, **PUNCH)
    assert text.startswith("protocol_factory: expected a function that returns an asyncio.Datagram")


@pytest.mark.parametrize("wrong", [5, None, netpunch.new_key])
def test_run_takes_a_coroutine(wrong: Any) -> None:
    with pytest.raises(UsageError, match="main: expected a coroutine"):
        netpunch.run(wrong)


def test_run_says_that_a_loop_runs_already() -> None:
    async def main() -> None:
        with pytest.raises(UsageError, match="main: an event loop runs already: await"):
            netpunch.run(asyncio.sleep(0))

    asyncio.run(main())


ANYTHING = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=40),
    st.binary(max_size=40),
    st.lists(st.one_of(st.text(max_size=5), st.integers(), st.binary(max_size=3)), max_size=3),
    st.dictionaries(st.one_of(st.text(max_size=3), st.integers()), st.text(max_size=3), max_size=2),
    st.just(decimal.Decimal("NaN")),
    st.just(object()),
    st.complex_numbers(),
)


REFUSED: Callable[..., None] = []  # type: ignore[assignment]
"""No function: as the argument that is checked last it ends every call."""


@pytest.mark.parametrize(
    ("call", "passed", "name"),
    [
        *((netpunch.punch, PUNCH | {"observer": REFUSED}, name) for name in PUNCH),
        *(
            (netpunch.punch, PUNCH | {"observer": REFUSED}, name)
            for name in ("local", "protocol", "candidates", "deadline")
        ),
        *(
            (netpunch.punch, PUNCH | CLASSIC | {"observer": REFUSED}, name)
            for name in ("end", "secret")
        ),
        *(
            (netpunch.start_control, {"pairs": {PAIR: None}}, name)
            for name in inspect.signature(netpunch.start_control).parameters
            if name != "pairs"
        ),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
@given(value=ANYTHING)
@settings(max_examples=60, deadline=None)
def test_an_argument_of_any_type_raises_nothing_but_usage_errors(
    call: Callable[..., Any], passed: dict[str, Any], name: str, value: object
) -> None:
    text = complaint(call, **(passed | {name: value}))
    assert not isinstance(value, bytes) or len(value) < 4 or repr(value) not in text


@given(value=ANYTHING)
@settings(max_examples=60, deadline=None)
def test_a_key_of_any_type_raises_nothing_but_usage_errors(value: object) -> None:
    text = complaint(netpunch.start_control, pairs={PAIR: value, "other": None})
    assert not isinstance(value, bytes) or len(value) < 4 or repr(value) not in text


def test_a_refused_call_has_opened_nothing() -> None:
    """The first step of the call raises: there is nothing to close yet."""

    async def main() -> None:
        before = asyncio.all_tasks()
        with pytest.raises(UsageError):
            await netpunch.punch(**(PUNCH | {"deadline": "60s", "local": ":0"}))
        assert asyncio.all_tasks() == before

    asyncio.run(main())


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    file = tmp_path / "home-office.key"
    file.write_text(f"{PAIR_KEY}\n")
    file.chmod(0o600)
    return file


@pytest.mark.parametrize("call", ["punch", "start_control"])
def test_a_key_file_has_the_rules_of_site_files(call: str, key_file: Path) -> None:
    def refused(file: Path) -> str:
        passed: dict[str, Any] = {"pairs": {PAIR: file}}
        if call == "punch":
            passed = PUNCH | {"secret": file}
        with pytest.raises(NetpunchError) as caught:
            getattr(netpunch, call)(**passed)
        return f"{type(caught.value).__name__}: {caught.value}"

    assert re.search(r"MissingFileError: .*nowhere\.key: no such", refused(Path("nowhere.key")))
    key_file.chmod(0o644)
    assert re.search("PermissionsError: .*chmod 600", refused(key_file))
    key_file.chmod(0o600)
    key_file.write_text("hunter2")
    assert re.search("ConfigurationError: .*not a v2 key", text := refused(key_file))
    assert "hunter2" not in text

"""netpunch.cli.exchange_log: lines as the Go netpunch writes them."""

from __future__ import annotations

import os
import re

import pytest

from netpunch.address import Address
from netpunch.cli.exchange_log import (
    Content,
    ExchangeLog,
    as_on_the_wire,
    classic_payload,
    decoded,
    quote,
)
from netpunch.core.events import (
    AuthRejected,
    Event,
    Expired,
    Finished,
    Introduced,
    Linked,
    PathKind,
    Reason,
    RoleConflict,
    Waiting,
)
from netpunch.net.driver import Datagram
from netpunch.wire.classic import sign

HERE = Address("127.0.0.1", 5001)
THERE = Address("2001:db8::1", 5000)
SECRET = b"a secret"
STAMP = re.compile(r"\d{4}/\d\d/\d\d \d\d:\d\d:\d\d\.\d{6} ")


def datagram(data: bytes, *, sent: bool = True) -> Datagram:
    return Datagram(sent, HERE, THERE, data, "in words")


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What was logged, without date and process number."""
    logged = capsys.readouterr().err.splitlines()
    assert all(STAMP.match(line) for line in logged)
    return [STAMP.sub("", line).removeprefix(f"[{os.getpid()}] ") for line in logged]


def observe(log: ExchangeLog, *observations: Datagram | Event) -> None:
    assert log.observer is not None
    for observation in observations:
        log.observer(observation)


def test_classic_datagrams_are_logged_as_by_the_go_netpunch(
    capsys: pytest.CaptureFixture[str],
) -> None:
    log = ExchangeLog(classic_payload(SECRET))
    observe(log, datagram(sign(SECRET, b"i|a|127.0.0.1:5000")))
    observe(log, datagram(sign(SECRET, b"a"), sent=False))
    observe(log, datagram(sign(b"another", b"a"), sent=False))
    observe(log, datagram(b"a", sent=False))
    assert lines(capsys) == [
        '[info] write: "i|a|127.0.0.1:5000" -> [2001:db8::1]:5000',
        '[info] read: "a" <- [2001:db8::1]:5000',
        '[info] read: "[message skipped due to invalid signature]" <- [2001:db8::1]:5000',
        '[info] read: "[message skipped, since it is too short]" <- [2001:db8::1]:5000',
    ]


@pytest.mark.parametrize(
    ("content", "shown"), [(as_on_the_wire, r'"\xf2\x00raw"'), (decoded, '"in words"')]
)
def test_datagrams_are_logged_raw_or_decoded(
    content: Content, shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    observe(ExchangeLog(content), datagram(b"\xf2\0raw"))
    assert lines(capsys) == [f"[info] write: {shown} -> [2001:db8::1]:5000"]


def test_the_exchange_log_has_a_line_for_each_event(capsys: pytest.CaptureFixture[str]) -> None:
    linked = Linked(0, HERE, THERE, PathKind.OBSERVED, None, 1.0, b"session key")
    log = ExchangeLog(decoded)
    observe(log, Waiting(Reason.PARTNER_ABSENT), Introduced(THERE), linked, Finished())
    observe(log, Expired("a-b", "a"), AuthRejected("bad_mac", 3, None, HERE))
    observe(log, RoleConflict("a-b", "a", (HERE, THERE)))
    assert lines(capsys) == [
        "[info] waiting: partner_absent",
        "[info] introduced: [2001:db8::1]:5000",
        "[info] linked: 127.0.0.1:5001 <-> [2001:db8::1]:5000",
        "[info] expired: a-b a",
        "[error] rejected: 3 x bad_mac, such as from 127.0.0.1:5001",
        "[error] conflict: two machines are a-b a: 127.0.0.1:5001 and [2001:db8::1]:5000",
    ]


def test_a_peer_names_its_slot(capsys: pytest.CaptureFixture[str]) -> None:
    ExchangeLog(decoded, slot="a").info("text")
    assert lines(capsys) == ["[a] [info] text"]


def test_a_silent_exchange_log_observes_and_writes_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    log = ExchangeLog(decoded, silent=True)
    log.info("text")
    log.listening([HERE])
    assert log.observer is None
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("data", "quoted"),
    [
        (b"", '""'),
        (b"a b~", '"a b~"'),
        (b'"\\', r'"\"\\"'),
        (b"\a\b\t\n\v\f\r", r'"\a\b\t\n\v\f\r"'),
        (b"\x00\x1b[31m\x7f\xff", r'"\x00\x1b[31m\x7f\xff"'),
    ],
)
def test_bytes_are_quoted_as_by_go(data: bytes, quoted: str) -> None:
    assert quote(data) == quoted

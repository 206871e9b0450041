"""Recorded classic datagrams, replayed with a forged source: what they make our machines send to an
address that never asked for anything."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from netpunch.address import Address
from netpunch.core.classic import control as classic_control
from netpunch.core.classic import paths as classic_paths
from netpunch.core.classic.control import ClassicControl
from netpunch.core.events import Registered
from netpunch.core.machine import Transmit
from netpunch.wire import classic
from netpunch.wire.drop import Drop
from tests.core.classic.classic_link import Link, Sent
from tests.core.classic.test_links import CONTROL, A, B, Maker, begin

VICTIM = "192.0.2.99"
VICTIM_V6 = "2001:db8:1111:2222:3333:4444:5555:6666"
LONG_RUN = 5
"""Datagrams a second."""
BEGIN = 2.0
"""When the replays begin: an end has been waiting for a while."""


def to(link: Link, host: str) -> list[Sent]:
    return [sent for sent in link.sent if sent.destination.host == host]


def assert_cheap(
    sent: Sequence[Sent], replayed: Sequence[bytes], seconds: float, burst: float
) -> None:
    """Three for one at most, in datagrams and in bytes, and few in the long run."""
    cost = sum(classic.PAYLOAD_OFFSET + len(payload) for payload in replayed)
    assert len(sent) <= 3 * len(replayed)
    assert sum(each.size for each in sent) <= 3 * cost
    assert len(sent) <= burst + LONG_RUN * seconds


END_BURST = 2 * classic_paths.BURST
"""Addresses that control has named, and others."""


@pytest.mark.parametrize("filtered", [True, False], ids=["nobody to link with", "linking"])
@pytest.mark.parametrize("payload", [b"x", b"y", b"z", f"i|b|{VICTIM}:9".encode()])
@pytest.mark.parametrize(("count", "gap"), [(1, 1.0), (60, 1.0), (600, 0.1), (3000, 0.001)])
def test_replays_of_one_kind_cost_a_victim_few_datagrams(
    filtered: bool, payload: bytes, count: int, gap: float
) -> None:
    """From one address, from several ports of it, without a partner and while a link is
    being made."""
    link = Link()
    begin(link, "ours", "ours", "ours", starts=(0.0, 1e6 if filtered else BEGIN))
    for number in range(count):
        source = CONTROL if payload[:1] == b"i" else Address(VICTIM, 9 + number % 6)
        link.replay(payload, source, A, BEGIN + number * gap)
    link.run(BEGIN + count * gap + 60.0)
    assert_cheap(to(link, VICTIM), [payload] * count, count * gap + 60.0, END_BURST)


def test_replays_of_all_kinds_for_long_cost_a_victim_few_datagrams() -> None:
    link, replayed = Link(), list[bytes]()
    begin(link, "ours", "ours", "ours", starts=(0.0, 1e6))
    for number in range(3000):
        victim = Address(VICTIM, 9 + number % 7)
        payload = (b"x", f"i|b|{victim}".encode())[number % 2]
        replayed.append(payload)
        link.replay(payload, CONTROL if number % 2 else victim, A, BEGIN + number * 0.05)
    link.run(BEGIN + 210.0)
    assert_cheap(to(link, VICTIM), replayed, 210.0, END_BURST)


REPLAYS = st.lists(
    st.tuples(
        st.sampled_from([b"x", b"y", b"z", b"i"]),
        st.sampled_from([9, 10, 11, 12, 13]),
        st.sampled_from([0.0, 0.001, 0.05, 0.1, 1.0, 1.3]),
    ),
    max_size=60,
)


@given(REPLAYS)
@settings(deadline=None, max_examples=200)
def test_any_mix_of_replays_costs_a_victim_few_datagrams(
    replays: list[tuple[bytes, int, float]],
) -> None:
    """Whatever state they drive the end into: also one that is linked to the forged address."""
    link, now, replayed = Link(), BEGIN, list[bytes]()
    begin(link, "ours", "ours", "ours", starts=(0.0, 1e6))
    for payload, port, gap in replays:
        now += gap
        victim = Address(VICTIM, port)
        named = f"i|b|{victim}".encode() if payload == b"i" else payload
        replayed.append(named)
        link.replay(named, CONTROL if payload == b"i" else victim, A, now)
    link.run(now + 30.0)
    assert_cheap(to(link, VICTIM), replayed, now + 30.0 - BEGIN, END_BURST)


def test_flood_of_replays_leaves_the_partner_its_budget() -> None:
    link = Link()
    begin(link, "ours", "ours", "ours", starts=(0.0, BEGIN + 5.0))
    for number in range(2000):
        link.replay(b"x", Address(VICTIM, 9 + number % 3), A, BEGIN + number * 0.005)
    link.run(BEGIN + 20.0)
    told = {sent.payload for sent in link.sent if (sent.source, sent.destination) == (A, B)}
    assert b"y" in told or b"z" in told


ANSWER_BURST = classic_control.ANNOUNCE_BURST


@pytest.mark.parametrize(("count", "gap"), [(1, 1.0), (60, 1.0), (2000, 0.01), (20_000, 0.0)])
@pytest.mark.parametrize("ports", [1, 7])
def test_replayed_announcements_are_answered_one_for_one_and_few_in_the_long_run(
    count: int, gap: float, ports: int
) -> None:
    """The partner's address is an IPv6 one, of the longest kind."""
    control = ClassicControl(dict.fromkeys("ab", Link.SECRET))
    partner = Address(VICTIM_V6[:-1] + "7", 65535)
    announcement = {letter: classic.sign(Link.SECRET, letter.encode()) for letter in "ab"}
    control.receive_datagram(announcement["b"], partner, 0.0, 0)
    answers: list[Transmit] = []
    events = []
    for number in range(count):
        source = Address(VICTIM_V6, 9 + number % ports)
        now = BEGIN + number * gap
        control.handle_timer(now)
        control.receive_datagram(announcement["a"], source, now, 0)
        answers += control.datagrams_to_send()
        events += list(iter(control.next_event, None))
    control.handle_timer(now + 1.0)
    answers += control.datagrams_to_send()
    of_victim = [each.data for each in answers if each.destination.host == VICTIM_V6]
    others = [each for each in answers if each.destination == partner]
    allowed = min(count, ANSWER_BURST + LONG_RUN * (count * gap + 1.0))
    assert len(of_victim) <= allowed
    assert sum(map(len, of_victim)) <= 3 * allowed * classic.FIXED_SIZE
    assert len(others) <= allowed, "the partner is pushed to no more often than a slot moves"
    assert sum(isinstance(event, Registered) for event in events) <= allowed + 1
    if count > allowed:
        assert control.drops[Drop.OVER_LIMIT] > 0


def test_starting_end_is_never_over_the_announcement_limit() -> None:
    """Ours and Go's."""
    makers: tuple[Maker, Maker] = ("ours", "go")
    for maker in makers:
        link = Link()
        begin(link, "ours", maker, maker, starts=(0.0, 1e6))
        link.run(60.0)
        assert Drop.OVER_LIMIT not in link.hosts[CONTROL].machine.drops


@pytest.mark.parametrize(("a_stays", "most"), [(True, 1 + 3 * 3), (False, 1 + 3 * 23)])
def test_slot_moved_by_a_replay_costs_its_new_address_little(a_stays: bool, most: int) -> None:
    """Go's wire makes this unavoidable: control believes a replayed announcement and tells the
    partner, which sends three pings for the push and for each answer to its own announcements, one
    in 5 s, until the true end announces again (5 s) or the slot expires (95 s)."""
    link = Link(lose=lambda sent: {sent.source, sent.destination} == {A, B})
    begin(link, "ours", "ours", "ours")
    if not a_stays:
        link.stop(A, at=29.9)
    link.replay(b"a", Address(VICTIM, 9), CONTROL, 30.0)
    link.run(140.0)
    assert 1 < len(to(link, VICTIM)) <= most

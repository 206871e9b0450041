"""The classic end alone: what it sends and when, which datagrams it believes, how it ends."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netpunch.address import Address
from netpunch.core.classic.end import MOST_REPORTED, TRANSITIONS, Cause, ClassicEnd, State
from netpunch.core.classic.paths import BURST, MOST_PATHS
from netpunch.core.endpoints import LOOKUP_INTERVAL, ControlEndpoints, Names
from netpunch.core.events import (
    Event,
    Failed,
    Finished,
    Introduced,
    Linked,
    LookupWanted,
    PathKind,
    Reason,
    Waiting,
)
from netpunch.core.machine import NEVER, Transmit
from netpunch.errors import ConfigurationError
from netpunch.wire import classic
from netpunch.wire.drop import Drop

SECRET = b"correct horse battery staple"
CONTROL = Address("203.0.113.1", 7777)
CONTROL_V6 = Address("2001:db8::77", 7777)
LOCAL = Address("0.0.0.0", 5000)
LOCAL_V6 = Address("::", 5000)
PARTNER = Address("198.51.100.1", 6000)
GHOST = Address("192.0.2.66", 666)
V4, V6 = 4, 6
"""The numbers of the sockets."""


def make_end(**changed: Any) -> ClassicEnd:
    settings: dict[str, Any] = {
        "letter": "a",
        "secret": SECRET,
        "endpoints": ControlEndpoints((CONTROL,)),
        "sockets": {V4: LOCAL, V6: LOCAL_V6},
        "deadline": None,
        "deadline_from_start": True,
        "random": lambda count: bytes(count),
        "now": 0.0,
    }
    return ClassicEnd(**(settings | changed))


def give(
    end: ClassicEnd, payload: str, source: Address, now: float, via: int = V4
) -> list[tuple[str, Address]]:
    """What the end sends at once because of an authentic datagram."""
    end.receive_datagram(classic.sign(SECRET, payload.encode()), source, now, via)
    return sent(end)


def introduce(end: ClassicEnd, now: float, address: Address = PARTNER) -> list[tuple[str, Address]]:
    return give(end, f"i|b|{address}", CONTROL, now)


def sent(end: ClassicEnd) -> list[tuple[str, Address]]:
    return [
        (data[classic.PAYLOAD_OFFSET :].decode(), destination)
        for data, destination, *_ in end.datagrams_to_send()
    ]


def run(end: ClassicEnd, until: float) -> list[tuple[float, str, Address]]:
    """Handles the timers up to a time; what was sent, and when."""
    log = []
    while (now := end.next_timer()) <= until:
        end.handle_timer(now)
        log += [(round(now, 6), payload, to) for payload, to in sent(end)]
    return log


def peer_log(end: ClassicEnd, until: float) -> list[tuple[float, str, Address]]:
    """The same without the announcements."""
    return [entry for entry in run(end, until) if entry[1] != "a"]


def events(end: ClassicEnd) -> list[Event]:
    return list(iter(end.next_event, None))


def pinging(now: float = 0.0, **changed: Any) -> ClassicEnd:
    end = make_end(**changed)
    introduce(end, now)
    return end


def ponging(now: float = 0.0) -> ClassicEnd:
    end = pinging(now)
    give(end, "x", PARTNER, now)
    return end


def closing(now: float = 0.0) -> ClassicEnd:
    end = pinging(now)
    give(end, "y", PARTNER, now)
    return end


def lingering(now: float = 0.0) -> ClassicEnd:
    end = ponging(now)
    give(end, "z", PARTNER, now)
    return end


class TestAnnouncing:
    def test_announcement_gaps_double_up_to_5_s(self) -> None:
        times = [time for time, _, _ in run(make_end(), 25.0)]
        assert times == [0.0, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 11.4, 16.4, 21.4]

    def test_jitter_only_shortens_the_longest_announcement_gap(self) -> None:
        end = make_end(random=lambda count: b"\xff" * count)
        times = [time for time, _, _ in run(end, 25.0)]
        assert times[:8] == [0.0, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4]
        assert all(4.5 < later - earlier < 5.0 for earlier, later in pairwise(times[7:]))

    def test_every_control_is_announced_to_from_a_socket_of_its_family(self) -> None:
        end = make_end(endpoints=ControlEndpoints((CONTROL, CONTROL_V6)))
        end.handle_timer(0.0)
        announcement = classic.sign(SECRET, b"a")
        assert end.datagrams_to_send() == [
            Transmit(announcement, CONTROL, V4),
            Transmit(announcement, CONTROL_V6, V6),
        ]

    def test_control_without_a_socket_of_its_family_is_left_out(self) -> None:
        end = make_end(endpoints=ControlEndpoints((CONTROL_V6, CONTROL)), sockets={V4: LOCAL})
        assert run(end, 0.0) == [(0.0, "a", CONTROL)]

    def test_end_without_controls_fails_at_once(self) -> None:
        end = make_end(
            endpoints=ControlEndpoints((CONTROL_V6,)), sockets={V4: LOCAL}, deadline=60.0
        )
        failed, finished = events(end)
        assert isinstance(failed, Failed)
        assert failed.reason is Reason.NO_CONTROL
        assert finished == Finished()
        assert end.next_timer() == NEVER

    def test_announcements_go_on_until_the_link(self) -> None:
        end = make_end()
        run(end, 0.0)
        introduce(end, 0.05)
        assert (0.1, "a", CONTROL) in run(end, 0.15)
        give(end, "x", PARTNER, 0.15)
        assert (0.2, "a", CONTROL) in run(end, 0.25)
        give(end, "y", PARTNER, 0.25)
        assert "a" not in [payload for _, payload, _ in run(end, 10.0)]


class TestMoving:
    """A control known by name may have moved; its silence does not show it."""

    @pytest.mark.parametrize("names", [Names(frozenset((CONTROL,))), Names(unresolved=True)])
    def test_unlinked_end_wants_a_lookup_each_minute(self, names: Names) -> None:
        end = make_end(endpoints=ControlEndpoints((CONTROL,), names=names))
        run(end, 2.5 * LOOKUP_INTERVAL)
        assert events(end).count(LookupWanted()) == 2
        introduce(end, 2.5 * LOOKUP_INTERVAL)
        give(end, "y", PARTNER, 2.5 * LOOKUP_INTERVAL)
        run(end, 5 * LOOKUP_INTERVAL)
        assert LookupWanted() not in events(end)

    def test_control_given_by_address_is_not_looked_up(self) -> None:
        end = make_end()
        run(end, 5 * LOOKUP_INTERVAL)
        assert LookupWanted() not in events(end)

    def test_moved_control_is_announced_to_anew_and_alone_believed(self) -> None:
        end = make_end()
        run(end, 100.0)
        end.controls_found(ControlEndpoints((CONTROL_V6,)), 100.0)
        log = run(end, 101.0)
        assert log == [(100.0 + gap, "a", CONTROL_V6) for gap in (0.0, 0.1, 0.2, 0.4, 0.8)]
        assert introduce(end, 101.0) == []
        assert end.drops == {Drop.UNEXPECTED_SOURCE: 1}
        assert give(end, f"i|b|{PARTNER}", CONTROL_V6, 101.0) == [("x", PARTNER)]

    def test_linked_end_ignores_a_moved_control(self) -> None:
        end = closing()
        run(end, 0.05)
        end.controls_found(ControlEndpoints((CONTROL_V6,)), 0.05)
        assert {payload for _, payload, _ in run(end, 5.0)} == {"z"}


class TestIntroduction:
    def test_introduction_starts_pings_ten_times_a_second(self) -> None:
        end = make_end()
        assert introduce(end, 1.0) == [("x", PARTNER)]
        assert events(end) == [Introduced(PARTNER)]
        assert peer_log(end, 1.25) == [(1.1, "x", PARTNER), (1.2, "x", PARTNER)]

    def test_repeated_introduction_changes_nothing(self) -> None:
        end = pinging(0.0)
        events(end)
        assert introduce(end, 0.05) == []
        assert peer_log(end, 0.25) == [(0.1, "x", PARTNER), (0.2, "x", PARTNER)]
        assert events(end) == []

    def test_moved_partner_is_pinged_at_both_addresses(self) -> None:
        moved = Address("198.51.100.1", 6001)
        end = pinging(0.0)
        assert introduce(end, 0.05, moved) == [("x", moved)]
        assert peer_log(end, 0.1) == [(0.1, "x", PARTNER), (0.1, "x", moved)]
        assert events(end) == [Introduced(PARTNER), Introduced(moved)]

    def test_any_of_several_controls_may_introduce(self) -> None:
        end = make_end(endpoints=ControlEndpoints((CONTROL, CONTROL_V6)))
        assert give(end, f"i|b|{PARTNER}", CONTROL_V6, 0.0, V6) == [("x", PARTNER)]

    def test_introduced_partner_is_pinged_from_a_socket_of_its_family(self) -> None:
        end = make_end()
        end.receive_datagram(classic.sign(SECRET, b"i|b|[2001:db8::1]:6000"), CONTROL, 0.0, V4)
        (ping,) = end.datagrams_to_send()
        assert (ping.destination, ping.via) == (Address("2001:db8::1", 6000), V6)

    @pytest.mark.parametrize(
        ("payload", "source", "drop"),
        [
            (f"i|b|{PARTNER}", GHOST, Drop.UNEXPECTED_SOURCE),
            (f"i|b|{PARTNER}", Address(CONTROL.host, 7778), Drop.UNEXPECTED_SOURCE),
            (f"i|a|{PARTNER}", CONTROL, Drop.UNEXPECTED),
            (f"i|d|{PARTNER}", CONTROL, Drop.UNEXPECTED),
            ("i|b|partner.example.net:6000", CONTROL, Drop.UNEXPECTED),
            ("i|b", CONTROL, Drop.UNEXPECTED),
            ("a", CONTROL, Drop.UNEXPECTED),
            ("i|b|198.51.100.1:0", CONTROL, Drop.HOSTILE_ADDRESS),
            ("i|b|127.0.0.1:6000", CONTROL, Drop.HOSTILE_ADDRESS),
            ("i|b|[::1]:6000", CONTROL, Drop.HOSTILE_ADDRESS),
            ("i|b|[::ffff:127.0.0.1]:6000", CONTROL, Drop.HOSTILE_ADDRESS),
            ("i|b|0.0.0.0:6000", CONTROL, Drop.HOSTILE_ADDRESS),
            ("i|b|[::]:6000", CONTROL, Drop.HOSTILE_ADDRESS),
            ("i|b|224.0.0.1:6000", CONTROL, Drop.HOSTILE_ADDRESS),
            ("i|b|255.255.255.255:6000", CONTROL, Drop.HOSTILE_ADDRESS),
            ("i|b|169.254.1.1:6000", CONTROL, Drop.HOSTILE_ADDRESS),
            ("i|b|[fe80::1%eth0]:6000", CONTROL, Drop.HOSTILE_ADDRESS),
            (f"i|b|{CONTROL}", CONTROL, Drop.HOSTILE_ADDRESS),
        ],
    )
    def test_bad_introduction_is_dropped(self, payload: str, source: Address, drop: Drop) -> None:
        end = make_end()
        assert give(end, payload, source, 0.0) == []
        assert end.drops == {drop: 1}
        assert end.state is State.WAITING
        assert events(end) == []

    def test_introduction_of_a_family_without_a_socket_is_dropped(self) -> None:
        end = make_end(sockets={V4: LOCAL})
        assert introduce(end, 0.0, Address("2001:db8::1", 6000)) == []
        assert end.drops == {Drop.HOSTILE_ADDRESS: 1}

    def test_loopback_introduction_is_accepted_from_a_control_on_loopback(self) -> None:
        control = Address("127.0.0.1", 7777)
        end = make_end(endpoints=ControlEndpoints((control,)))
        assert give(end, "i|b|127.0.0.1:6000", control, 0.0) == [("x", Address("127.0.0.1", 6000))]

    def test_introduction_is_dropped_while_ponging_or_linked(self) -> None:
        for end in (ponging(), closing(), lingering()):
            assert introduce(end, 0.0, Address("198.51.100.9", 6000)) == []
            assert end.drops == {Drop.UNEXPECTED: 1}


class TestPing:
    def test_ping_from_a_new_address_is_pinged_and_ponged(self) -> None:
        end = make_end()
        assert give(end, "x", PARTNER, 0.0) == [("x", PARTNER), ("y", PARTNER)]
        assert events(end) == [Introduced(PARTNER)]

    def test_ping_from_the_introduced_address_is_ponged(self) -> None:
        assert give(pinging(), "x", PARTNER, 0.0) == [("y", PARTNER)]

    def test_ponging_end_sends_no_pings(self) -> None:
        end = ponging()
        assert give(end, "x", GHOST, 0.0) == [("y", GHOST)]
        assert {payload for _, payload, _ in peer_log(end, 0.95)} == {"y"}

    def test_each_ping_is_ponged_and_pongs_are_repeated(self) -> None:
        end = ponging()
        assert give(end, "x", PARTNER, 0.05) == [("y", PARTNER)]
        assert peer_log(end, 0.2) == [(0.1, "y", PARTNER), (0.2, "y", PARTNER)]

    def test_pongs_go_only_to_addresses_that_pinged(self) -> None:
        end = pinging()
        give(end, "x", GHOST, 0.0)
        assert peer_log(end, 0.1) == [(0.1, "y", GHOST)]

    def test_pong_leaves_by_the_socket_of_the_ping(self) -> None:
        end = make_end()
        end.receive_datagram(classic.sign(SECRET, b"x"), PARTNER, 0.0, V6)
        assert [transmit.via for transmit in end.datagrams_to_send()] == [V6, V6]

    @pytest.mark.parametrize(
        ("source", "drop"),
        [
            (CONTROL, Drop.UNEXPECTED_SOURCE),
            (Address("198.51.100.1", 0), Drop.HOSTILE_ADDRESS),
            (Address("fe80::1", 6000), Drop.HOSTILE_ADDRESS),
        ],
    )
    def test_ping_from_a_forbidden_source_is_dropped(self, source: Address, drop: Drop) -> None:
        end = make_end()
        assert give(end, "x", source, 0.0) == []
        assert end.drops == {drop: 1}

    def test_ping_from_loopback_is_ponged(self) -> None:
        assert give(make_end(), "x", Address("127.0.0.1", 6000), 0.0) != []

    def test_ping_is_dropped_once_linked(self) -> None:
        for end in (closing(), lingering()):
            assert give(end, "x", PARTNER, 0.0) == []
            assert end.drops == {Drop.UNEXPECTED: 1}


class TestGhost:
    """A recorded ping, replayed."""

    def test_ponging_in_vain_ends_after_a_second(self) -> None:
        end = make_end()
        give(end, "x", GHOST, 10.0)
        assert peer_log(end, 30.0) == [(10.1, "y", GHOST)]  # after a ping and a pong at once
        assert end.state is State.WAITING

    def test_every_ping_extends_ponging(self) -> None:
        end = make_end()
        give(end, "x", PARTNER, 10.0)
        run(end, 10.5)
        give(end, "x", PARTNER, 10.5)
        run(end, 11.45)
        assert end.state is State.PONGING

    def test_end_that_ponged_in_vain_starts_over(self) -> None:
        end = make_end()
        run(end, 10.0)
        give(end, "x", GHOST, 10.0)
        announced = [time for time, payload, _ in run(end, 11.45) if payload == "a"]
        assert announced[-4:] == [11.0, 11.1, 11.2, 11.4]
        assert introduce(end, 11.45) == [("x", PARTNER)]
        assert {to for _, _, to in peer_log(end, 12.0)} == {PARTNER}

    def test_pong_to_a_ping_from_before_starting_over_is_dropped(self) -> None:
        end = make_end()
        give(end, "x", GHOST, 0.0)
        run(end, 2.0)
        give(end, "y", GHOST, 2.0)
        give(end, "z", GHOST, 2.0)
        assert end.drops == {Drop.UNEXPECTED_SOURCE: 2}

    def test_only_the_newest_few_addresses_are_pinged(self) -> None:
        end = pinging()
        ghosts = [Address("192.0.2.66", port) for port in range(1, int(BURST) - 2 * MOST_PATHS)]
        for ghost in ghosts:
            give(end, "x", ghost, 0.0)
        pongs = peer_log(end, 0.1)
        assert [to for _, _, to in pongs] == ghosts[-MOST_PATHS:]

    def test_partner_that_is_heard_is_not_displaced(self) -> None:
        end = pinging()
        for port in range(1, 2 * MOST_PATHS):
            assert introduce(end, 0.0) == []
            introduce(end, 0.0, Address("192.0.2.66", port))
        assert (0.1, "x", PARTNER) in peer_log(end, 0.1)

    def test_few_addresses_are_reported(self) -> None:
        end = make_end()
        for port in range(1, 40):
            introduce(end, 0.0, Address("192.0.2.66", port))
        assert len(events(end)) == MOST_REPORTED


class TestPong:
    def test_pong_links_and_is_answered_by_a_close(self) -> None:
        end = pinging(2.0)
        events(end)
        assert give(end, "y", PARTNER, 2.03) == [("z", PARTNER)]
        (linked,) = events(end)
        assert isinstance(linked, Linked)
        assert (linked.via, linked.local, linked.remote) == (V4, LOCAL, PARTNER)
        assert linked.path is PathKind.OBSERVED
        assert linked.rtt == pytest.approx(0.03)
        assert linked.duration == pytest.approx(2.03)

    def test_five_closes_are_sent_20_ms_apart(self) -> None:
        end = closing(1.0)
        assert [time for time, _, _ in run(end, 5.0)] == [1.02, 1.04, 1.06, 1.08]

    def test_every_further_pong_gets_a_close(self) -> None:
        end = closing(1.0)
        run(end, 1.05)
        assert give(end, "y", PARTNER, 1.05) == [("z", PARTNER)]
        run(end, 2.2)
        assert give(end, "y", PARTNER, 2.2) == [("z", PARTNER)]
        run(end, 3.0)
        assert give(end, "y", PARTNER, 3.0) == []
        assert end.drops == {Drop.UNEXPECTED: 1}

    def test_closing_end_finishes_1200_ms_after_its_last_close(self) -> None:
        end = closing(1.0)
        run(end, 2.279)
        assert Finished() not in events(end)
        run(end, 2.281)
        assert events(end) == [Finished()]
        assert end.next_timer() == NEVER

    def test_first_path_with_a_pong_is_the_link(self) -> None:
        end = pinging()
        introduce(end, 0.0, GHOST)
        give(end, "y", PARTNER, 0.01)
        assert give(end, "y", GHOST, 0.02) == [("z", GHOST)]
        assert [event.remote for event in events(end) if isinstance(event, Linked)] == [PARTNER]
        assert {to for _, _, to in run(end, 5.0)} == {PARTNER}

    @pytest.mark.parametrize(("source", "via"), [(GHOST, V4), (PARTNER, V6), (CONTROL, V4)])
    def test_pong_from_an_address_that_was_not_pinged_is_dropped(
        self, source: Address, via: int
    ) -> None:
        end = pinging()
        assert give(end, "y", source, 0.0, via) == []
        assert end.drops == {Drop.UNEXPECTED_SOURCE: 1}

    def test_address_that_was_only_ponged_cannot_pong(self) -> None:
        end = ponging()
        give(end, "x", GHOST, 0.0)  # gets a pong only
        assert give(end, "y", GHOST, 0.0) == []
        assert end.drops == {Drop.UNEXPECTED_SOURCE: 1}

    def test_pong_links_a_ponging_end(self) -> None:
        end = ponging()
        assert give(end, "y", PARTNER, 0.0) == [("z", PARTNER)]
        assert end.state is State.CLOSING

    def test_round_trip_is_unknown_when_two_pings_were_out(self) -> None:
        end = pinging()
        run(end, 0.1)
        give(end, "y", PARTNER, 0.15)
        (linked,) = [event for event in events(end) if isinstance(event, Linked)]
        assert linked.rtt is None


class TestClose:
    def test_close_links_the_end_that_ponged(self) -> None:
        end = ponging(1.0)
        events(end)
        assert give(end, "z", PARTNER, 1.5) == []
        assert events(end) == [Linked(V4, LOCAL, PARTNER, PathKind.OBSERVED, None, 1.5)]

    def test_end_linked_by_a_close_answers_pongs_for_1200_ms(self) -> None:
        end = lingering(1.0)
        assert give(end, "y", PARTNER, 2.1) == [("z", PARTNER)]
        events(end)
        run(end, 2.199)
        assert events(end) == []
        assert run(end, 2.2) == []
        assert events(end) == [Finished()]

    def test_further_closes_are_accepted(self) -> None:
        end = lingering()
        give(end, "z", PARTNER, 0.02)
        assert end.drops == {}

    def test_close_ends_closing(self) -> None:
        end = ponging()
        give(end, "y", PARTNER, 0.0)
        give(end, "z", PARTNER, 0.01)
        assert run(end, 5.0) == []
        assert len([event for event in events(end) if isinstance(event, Linked)]) == 1

    @pytest.mark.parametrize("source", [PARTNER, GHOST])
    def test_close_from_an_address_that_was_not_ponged_is_dropped(self, source: Address) -> None:
        end = pinging()
        give(end, "z", source, 0.0)
        assert end.drops == {Drop.UNEXPECTED_SOURCE: 1}

    def test_close_after_the_end_is_dropped(self) -> None:
        end = lingering()
        run(end, 5.0)
        give(end, "z", PARTNER, 5.0)
        assert end.drops == {Drop.UNEXPECTED: 1}

    def test_local_address_of_the_link_is_that_of_the_socket(self) -> None:
        end = make_end()
        remote = Address("2001:db8::1", 6000)
        for payload in ("x", "z"):
            give(end, payload, remote, 0.0, V6)
        (linked,) = [event for event in events(end) if isinstance(event, Linked)]
        assert (linked.via, linked.local, linked.remote) == (V6, LOCAL_V6, remote)


class TestFailing:
    def test_silence_of_controls_is_reported_once_after_3_s(self) -> None:
        end = make_end()
        run(end, 2.99)
        assert events(end) == []
        run(end, 60.0)
        [waiting] = events(end)
        assert isinstance(waiting, Waiting)
        assert waiting.reason is Reason.SECRET_REJECTED_OR_SILENT
        assert "no control answered" in waiting.detail

    def test_silence_is_not_reported_after_an_introduction(self) -> None:
        end = pinging(1.0)
        run(end, 60.0)
        assert events(end) == [Introduced(PARTNER)]

    def test_end_without_answers_fails_at_the_deadline(self) -> None:
        end = make_end(deadline=10.0)
        run(end, 9.99)
        events(end)
        run(end, 60.0)
        failed, finished = events(end)
        assert isinstance(failed, Failed)
        assert (failed.reason, failed.duration) == (Reason.SECRET_REJECTED_OR_SILENT, 10.0)
        assert "partner" in failed.detail
        assert "secret" in failed.detail
        assert finished == Finished()
        assert end.next_timer() == NEVER

    def test_introduced_end_without_datagrams_is_blocked(self) -> None:
        end = pinging(1.0, deadline=10.0)
        run(end, 10.0)
        (failed,) = [event for event in events(end) if isinstance(event, Failed)]
        assert failed.reason is Reason.BLOCKED

    def test_pinged_end_without_pongs_has_not_agreed(self) -> None:
        end = pinging(1.0, deadline=10.0)
        give(end, "x", PARTNER, 2.0)
        run(end, 3.5)
        introduce(end, 3.5)
        run(end, 10.0)
        (failed,) = [event for event in events(end) if isinstance(event, Failed)]
        assert failed.reason is Reason.NOT_AGREED

    def test_deadline_can_count_from_the_first_introduction(self) -> None:
        end = make_end(deadline=10.0, deadline_from_start=False)
        run(end, 100.0)
        introduce(end, 100.0)
        run(end, 105.0)
        introduce(end, 105.0, GHOST)
        run(end, 109.99)
        assert Finished() not in events(end)
        run(end, 110.0)
        assert Finished() in events(end)

    def test_linked_end_has_no_deadline(self) -> None:
        end = pinging(1.0, deadline=1.5)
        give(end, "y", PARTNER, 1.4)
        run(end, 60.0)
        assert not [event for event in events(end) if isinstance(event, Failed)]

    def test_end_closed_before_the_link_finishes_at_once(self) -> None:
        for end in (make_end(), pinging(), ponging()):
            end.close(0.5)
            assert events(end)[-1] == Finished()
            end.close(0.6)
            assert events(end) == []
            assert end.next_timer() == NEVER

    def test_end_closed_while_handing_over_goes_on(self) -> None:
        for end in (closing(), lingering()):
            events(end)
            end.close(0.01)
            assert events(end) == []
            run(end, 5.0)
            assert events(end) == [Finished()]


class TestConfiguration:
    def test_secret_that_cannot_sign_raises(self) -> None:
        with pytest.raises(ConfigurationError, match="choose another"):
            make_end(letter="p", secret=b"zero-4515748")

    def test_invalid_slot_letter_of_an_end_raises(self) -> None:
        with pytest.raises(ValueError, match="slot letter"):
            make_end(letter="1")

    def test_slot_with_the_letter_of_a_peer_message_works(self) -> None:
        end = make_end(letter="x")
        assert run(end, 0.0) == [(0.0, "x", CONTROL)]
        assert give(end, f"i|w|{PARTNER}", CONTROL, 0.0) == [("x", PARTNER)]

    def test_repr_of_a_classic_end_hides_its_secret(self) -> None:
        end = make_end(deadline=1.0)
        run(end, 2.0)
        assert "horse" not in repr(end) + repr(vars(end)) + repr(events(end))


class TestDescribe:
    @pytest.mark.parametrize(
        ("payload", "words"),
        [
            ("a", "announce a"),
            ("x", "ping"),
            ("y", "pong"),
            ("z", "close"),
            (f"i|b|{PARTNER}", f"introduce b {PARTNER}"),
        ],
    )
    def test_classic_messages_are_described(self, payload: str, words: str) -> None:
        assert make_end().describe(classic.sign(SECRET, payload.encode())) == words

    def test_forgery_at_a_classic_end_is_described_as_not_authentic(self) -> None:
        assert make_end().describe(classic.sign(b"other", b"x")) == "not authentic"


def test_every_state_of_a_classic_end_is_reached_and_left() -> None:
    reached = {State.WAITING} | set(TRANSITIONS.values())
    assert reached == set(State)
    assert {state for state, _ in TRANSITIONS} == set(State) - {State.FINISHED}
    assert {cause for _, cause in TRANSITIONS} == set(Cause)


AUTHENTIC = ["a", "x", "y", "z", f"i|b|{PARTNER}", f"i|b|{GHOST}", "i|b|198.51.100.1:0", "i|b|"]


@given(
    st.lists(
        st.tuples(
            st.one_of(
                st.binary(max_size=80),
                st.sampled_from(AUTHENTIC).map(lambda text: classic.sign(SECRET, text.encode())),
            ),
            st.sampled_from([PARTNER, GHOST, CONTROL, Address("192.0.2.66", 0)]),
            st.sampled_from([V4, V6]),
            st.sampled_from([0.0, 0.02, 0.1, 1.0, 1.2]),
        ),
        max_size=30,
    )
)
def test_any_datagrams_raise_nothing_and_get_few_answers(
    datagrams: Sequence[tuple[bytes, Address, int, float]],
) -> None:
    end, now, told = make_end(deadline=30.0), 0.0, []
    for data, source, via, gap in datagrams:
        now += gap
        run(end, now)
        dropped = end.drops.total()
        end.receive_datagram(data, source, now, via)
        answers = end.datagrams_to_send()
        assert len(answers) <= 2
        if end.drops.total() > dropped:
            assert answers == []
        assert all(transmit.destination.port for transmit in answers)
        told += events(end)
    run(end, now + 40.0)
    told += events(end)
    assert end.state is State.FINISHED
    assert [type(event) for event in told if not isinstance(event, Introduced | Waiting)] in (
        [Linked, Finished],
        [Failed, Finished],
    )

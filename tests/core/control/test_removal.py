"""A pair that is removed from a control that goes on serving others."""

from __future__ import annotations

import pytest

from netpunch.core.allowances import TO_STRANGER
from netpunch.core.control.control import MOST_REMOVALS, ControlV2
from netpunch.core.control.registrations import Pairs
from netpunch.core.events import AuthRejected, Expired
from netpunch.core.timing import COOKIE_BUCKET, EXPIRE
from netpunch.wire import v2
from netpunch.wire.drop import Drop
from netpunch.wire.envelope import ControlChannel
from netpunch.wire.keys import control_key, pair_tag
from tests.core.control.relaying import make_relay, registered
from tests.core.v2_pair import (
    CONTROL_CHANNELS,
    CONTROL_KEY,
    ELSEWHERE,
    PAIR,
    SECRET,
    A,
    B,
    Voice,
    make_control,
    only,
    say,
    seal,
    told_by,
)

OTHER = "other"
OTHER_KEY = control_key(SECRET, OTHER)
NEW_KEY = control_key(bytes(32), PAIR)


@pytest.fixture
def control() -> ControlV2:
    return make_control()


def again(control: ControlV2) -> None:
    """The pair is removed, and added once more."""
    control.remove_pair(PAIR)
    control.add_pair(PAIR, CONTROL_KEY)
    told_by(control)


def said(voice: Voice, control: ControlV2, count: int, now: float) -> list[bytes]:
    """What an end sends while it registers and stays, recorded."""
    recorded = []
    for number in range(count):
        data = voice.announcement()
        recorded.append(data)
        voice.take_cookie(say(control, data, voice.source, now + number / 10))
    return recorded


def test_the_ends_of_a_removed_pair_get_silence(control: ControlV2) -> None:
    a = Voice("a", A, b"attempt1")
    a.register(control, 0.0)
    told_by(control)
    control.remove_pair(PAIR)
    assert told_by(control) == [Expired(PAIR, "a", removed=True)]
    assert (control.registered, control.serves(PAIR), control.pairs_served) == (0, False, 0)
    for data in (
        a.announcement(),
        a.leave(),
        seal(CONTROL_CHANNELS["a"].to_control, v2.Observe(b"echoecho")),
        seal(CONTROL_CHANNELS["a"].to_control, v2.Bind(a.attempt, 9, a.cookie)),
    ):
        assert say(control, data, A, 1.0) == []
    assert control.drops == {Drop.UNKNOWN_PAIR: 4}


def test_an_end_that_proved_nothing_does_not_expire_with_its_pair(control: ControlV2) -> None:
    """Nobody has heard of it."""
    Voice("a", A, b"attempt1").announce(control, 0.0)
    control.remove_pair(PAIR)
    assert told_by(control) == []


def test_an_end_that_is_there_under_both_keys_expires_once(control: ControlV2) -> None:
    control.add_pair(PAIR, CONTROL_KEY, NEW_KEY)
    Voice("a", A, b"attempt1").register(control, 0.0)
    channel, cookie = ControlChannel(NEW_KEY, PAIR, "a"), v2.NO_COOKIE
    for counter in (10, 11):
        card = bytes(v2.SEALED_CARD_LENGTH)
        announce = v2.Announce(b"attempt1", counter, cookie, v2.Purpose.PUNCH, card)
        control.receive_datagram(seal(channel.to_control, announce), A, 0.1, 0)
        for data, *_ in control.datagrams_to_send():
            cookie = getattr(channel.from_control.open(data), "cookie", cookie)
    assert control.registered == 1
    told_by(control)
    control.remove_pair(PAIR)
    assert told_by(control) == [Expired(PAIR, "a", removed=True)]
    assert control.registered == 0


def test_the_ends_of_other_pairs_stay_registered(control: ControlV2) -> None:
    a = Voice("a", A, b"attempt1")
    a.register(control, 0.0)
    told_by(control)
    for number in range(3):
        control.add_pair(f"{OTHER}{number}", OTHER_KEY)
    for number in range(3):
        control.remove_pair(f"{OTHER}{number}")
    assert told_by(control) == []
    assert control.registered == 1
    assert only(v2.Introduce, Voice("b", B, b"attempt2").register(control, 1.0))
    control.handle_timer(EXPIRE)
    assert told_by(control)[-1] == Expired(PAIR, "a")


def test_a_pair_that_is_added_anew_links_again(control: ControlV2) -> None:
    """Its ends have gone on announcing themselves all the time."""
    a, b = Voice("a", A, b"attempt1"), Voice("b", B, b"attempt2")
    for voice in (a, b):
        voice.register(control, 0.0)
    again(control)
    for voice in (a, b):
        voice.cookie = v2.NO_COOKIE
        voice.register(control, 1.0)
    assert control.registered == 2
    assert only(v2.Introduce, b.announce(control, 1.1))


def test_a_pair_with_another_key_as_well_keeps_its_ends(control: ControlV2) -> None:
    Voice("a", A, b"attempt1").register(control, 0.0)
    told_by(control)
    for keys in ((CONTROL_KEY, NEW_KEY), (NEW_KEY, CONTROL_KEY), (CONTROL_KEY, None)):
        control.add_pair(PAIR, *keys)
        assert told_by(control) == []
        assert control.registered == 1
    control.add_pair(PAIR, NEW_KEY)
    assert told_by(control) == [Expired(PAIR, "a", removed=True)]


def test_a_recording_from_before_the_removal_registers_nobody(control: ControlV2) -> None:
    """Its counters are forgotten, but its cookies are no good either."""
    a = Voice("a", A, b"attempt1")
    recorded = said(a, control, 4, 0.0)
    assert control.registered == 1
    again(control)
    for now in (1.0, COOKIE_BUCKET / 2):
        for data in recorded:
            for source in (A, ELSEWHERE):
                say(control, data, source, now)
    assert control.registered == 0
    assert told_by(control) == []


def test_a_recording_from_before_the_removal_displaces_nobody(control: ControlV2) -> None:
    a = Voice("a", A, b"attempt1")
    recorded = said(a, control, 4, 0.0)
    again(control)
    live = Voice("a", B, b"attempt2")
    live.register(control, 1.0)
    told_by(control)
    for data in recorded:
        for source in (A, ELSEWHERE):
            say(control, data, source, 2.0)
    assert told_by(control) == []
    assert only(v2.Waiting, live.announce(control, 3.0))


def test_recordings_of_a_pair_that_comes_and_goes_earn_no_more_than_an_allowance(
    control: ControlV2,
) -> None:
    """Its allowances outlive the pair."""
    a = Voice("a", A, b"attempt1")
    recorded = said(a, control, 100, 0.0)
    answers = 0
    for data in recorded:
        again(control)
        answers += len(say(control, data, ELSEWHERE, 20.0))
    assert answers <= TO_STRANGER.burst


def test_a_removed_pair_is_relayed_no_more_and_its_recordings_bind_nobody() -> None:
    control = make_relay()
    a, b = registered(control, "a", A, 0.0), registered(control, "b", B, 0.0)
    for end in (a, b):
        end.bind(control, 0.0)
    assert a.send(control, b"hello", 0.1)
    control.remove_pair(PAIR)
    assert a.send(control, b"hello", 0.2) == []
    control.add_pair(PAIR, CONTROL_KEY)
    for end in (a, b):
        for data in end.said:
            say(control, data, end.source, 0.3, end.via)
    assert control.relay.bound == 0
    control.relay.handle_timer(1000.0)


def test_nothing_is_kept_of_pairs_that_come_and_go(control: ControlV2) -> None:
    """Not even the timers of their ends, which would run for long."""
    control.expire_after(1e6)
    for number in range(2 * MOST_REMOVALS + 10):
        control.add_pair(PAIR, CONTROL_KEY)
        Voice("a", A, number.to_bytes(8, "big")).announce(control, number * 10.0)
        control.remove_pair(PAIR)
    timed = sum(len(each) for each in control._expiries._seconds.values())
    assert timed <= MOST_REMOVALS + 1
    assert not control._rejections._windows
    assert not control._pairs.by_tag


def test_keys_of_a_removed_pair_are_dropped_at_once(control: ControlV2) -> None:
    pair = control._pairs.by_tag[pair_tag(PAIR)]
    Voice("a", A, b"attempt1").register(control, 0.0)
    assert pair.keys
    control.remove_pair(PAIR)
    assert pair.keys == b""
    assert not any(record.has_ciphers for record in pair.records)


def test_what_was_rejected_of_a_removed_pair_is_reported_at_once(control: ControlV2) -> None:
    forged = Voice("a", A, b"attempt1").announcement()[:-1] + b"?"
    for _ in range(3):
        say(control, forged, ELSEWHERE, 0.0)
    assert told_by(control) == [AuthRejected("bad_mac", 1, PAIR, ELSEWHERE)]
    control.remove_pair(PAIR)
    assert told_by(control) == [AuthRejected("bad_mac", 2, PAIR, ELSEWHERE)]
    control.handle_timer(1000.0)
    assert told_by(control) == []


def test_removing_what_is_not_served_changes_nothing(control: ControlV2) -> None:
    control.remove_pair(OTHER)
    assert (control.pairs_served, told_by(control)) == (1, [])


def test_pairs_without_a_removal_in_between_share_one_epoch() -> None:
    pairs = Pairs({"one": CONTROL_KEY, "two": CONTROL_KEY})
    pairs.serve("three", CONTROL_KEY)
    pairs.remove("two")
    pairs.serve("two", CONTROL_KEY)
    epochs = {pair.name: pair.epoch for pair in pairs.by_tag.values()}
    assert epochs == {"one": 0, "three": 0, "two": 1}

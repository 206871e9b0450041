"""A control says the same to the ends of one pair whether or not other pairs come and go."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from netpunch.core.control.control import MOST_REMOVALS, ControlV2
from netpunch.core.events import Event
from netpunch.wire import v2
from netpunch.wire.envelope import ControlChannel
from tests.core.v2_pair import (
    CONTROL_KEY,
    ELSEWHERE,
    PAIR,
    A,
    B,
    Sent,
    Voice,
    make_control,
    say,
    seal,
    told_by,
)

GUESTS = ("guest", "visitor")
KEYS = {guest: guest.encode().ljust(32, b".") for guest in GUESTS}

of_the_pair = st.tuples(
    st.sampled_from(["announce", "leave", "observe", "restart", "move", "time"]),
    st.sampled_from(["a", "b"]),
)
of_guests = st.tuples(
    st.sampled_from(["add", "remove", "rekey", "announce", "forge"]), st.sampled_from(GUESTS)
)


class Ends:
    """Both ends of PAIR, and what they hear."""

    def __init__(self, control: ControlV2) -> None:
        self.control = control
        self.now = 0.0
        self.heard: list[Sent] = []
        self.events: list[Event] = []
        self.voices = {"a": Voice("a", A, b"attempt1"), "b": Voice("b", B, b"attempt2")}

    def do(self, what: str, end: str) -> None:
        voice, now = self.voices[end], self.now
        match what:
            case "announce":
                self.heard += voice.announce(self.control, now)
            case "leave":
                self.heard += say(self.control, voice.leave(), voice.source, now)
            case "observe":
                channel = ControlChannel(CONTROL_KEY, PAIR, voice.end).to_control
                observe = seal(channel, v2.Observe(b"12345678"))
                self.heard += say(self.control, observe, voice.source, now)
            case "restart":
                attempt = voice.attempt[:-1] + bytes([voice.attempt[-1] + 1])
                self.voices[end] = Voice(voice.end, voice.source, attempt)
            case "move":
                voice.source = ELSEWHERE if voice.source != ELSEWHERE else A
            case "time":
                self.now += 20.0
                self.control.handle_timer(self.now)
        self.events += [each for each in told_by(self.control) if getattr(each, "pair", "") == PAIR]


def disturb(control: ControlV2, what: str, guest: str, now: float) -> None:
    """What a guest does; what control says to it is nobody's business here."""
    match what:
        case "add":
            control.add_pair(guest, KEYS[guest])
        case "rekey":
            control.add_pair(guest, KEYS[guest][::-1], KEYS[guest])
        case "remove":
            control.remove_pair(guest)
            if guest == GUESTS[0]:
                control._removals = MOST_REMOVALS  # so many have gone: all are timed anew
                control.remove_pair("nobody")
        case "announce" | "forge":
            key = KEYS[guest] if what == "announce" else bytes(32)
            card = bytes(v2.SEALED_CARD_LENGTH)
            announce = v2.Announce(b"attempt3", 1, v2.NO_COOKIE, v2.Purpose.PUNCH, card)
            channel = ControlChannel(key, guest, "a").to_control
            control.receive_datagram(seal(channel, announce), B, now, 0)
    control.datagrams_to_send()


@given(st.lists(st.one_of(of_the_pair, of_guests), max_size=40))
@settings(max_examples=60, deadline=None)
def test_pairs_that_come_and_go_change_nothing_for_another(steps: list[tuple[str, str]]) -> None:
    calm, churned = Ends(make_control()), Ends(make_control())
    for what, who in steps:
        if who in GUESTS:
            disturb(churned.control, what, who, churned.now)
            churned.events += [
                e for e in told_by(churned.control) if getattr(e, "pair", "") == PAIR
            ]
        else:
            for ends in (calm, churned):
                ends.do(what, who)
    # All but the bytes, which differ by their nonces.
    assert [each[:3] for each in churned.heard] == [each[:3] for each in calm.heard]
    assert churned.events == calm.events
    assert churned.control.registered == calm.control.registered

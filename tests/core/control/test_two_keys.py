"""A control whose pair has two keys, while one replaces the other."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from netpunch.address import Address
from netpunch.core.control.absences import Absences, Absent
from netpunch.core.control.control import ControlV2
from netpunch.core.control.relay import Relay
from netpunch.core.events import Expired, Registered
from netpunch.wire import v2
from netpunch.wire.drop import Drop
from netpunch.wire.envelope import NONCE_LENGTH, ControlChannel, EndName
from netpunch.wire.keys import control_key
from tests.core.v2_pair import CONTROL_KEY, PAIR, A, B, nonces, told_by

NEW_KEY = control_key(bytes(32), PAIR)
KEYS = {"old": CONTROL_KEY, "new": NEW_KEY, "neither": bytes(32)}
RELAY_VIA = 5


@dataclass
class Speaker:
    """An attempt of an end under one key. `hear` gives what control tells it."""

    control: ControlV2
    end: EndName
    key: str
    cookie: bytes = v2.NO_COOKIE
    counter: int = 0

    def __post_init__(self) -> None:
        """An end counts all its announcements, under whichever key."""
        self.counter = 1000 * list(KEYS).index(self.key)

    @property
    def source(self) -> Address:
        return A if self.end == "a" else B

    @property
    def attempt(self) -> bytes:
        return f"the {self.end} end".encode().ljust(8)[:8]

    def say(self, message: v2.Message, via: int = 0) -> list[v2.Message]:
        channel = ControlChannel(KEYS[self.key], PAIR, self.end)
        data = channel.to_control.seal(message, nonces.randbytes(NONCE_LENGTH))
        self.control.receive_datagram(data, self.source, 1.0, via)
        opened = [
            channel.from_control.open(data)
            for data, to, *_ in self.control.datagrams_to_send()
            if to == self.source
        ]
        heard = [each for each in opened if not isinstance(each, Drop)]
        for each in heard:
            cookie = getattr(each, "cookie", v2.NO_COOKIE)
            self.cookie = cookie if cookie != v2.NO_COOKIE else self.cookie
        return heard

    def announce(self) -> list[v2.Message]:
        self.counter += 1
        card = self.key.encode().ljust(v2.SEALED_CARD_LENGTH, b"c")
        punch = v2.Purpose.PUNCH
        return self.say(v2.Announce(self.attempt, self.counter, self.cookie, punch, card))

    def register(self) -> list[v2.Message]:
        self.announce()
        return self.announce()

    def leave(self) -> None:
        self.counter += 1
        self.say(v2.Leave(self.attempt, self.counter))


@pytest.fixture
def control() -> ControlV2:
    relay = Relay()
    relay.serve(RELAY_VIA)
    return ControlV2(
        {PAIR: NEW_KEY}, other_keys={PAIR: CONTROL_KEY}, relay=relay, random=nonces.randbytes
    )


@pytest.mark.parametrize("key", ["new", "old"])
def test_ends_that_have_a_key_in_common_are_introduced(control: ControlV2, key: str) -> None:
    Speaker(control, "a", key).register()
    (introduction,) = Speaker(control, "b", key).register()
    assert isinstance(introduction, v2.Introduce)
    assert introduction.card.startswith(key.encode()), "sealed with a key that the other has"


def test_ends_without_a_common_key_are_not(control: ControlV2) -> None:
    Speaker(control, "a", "new").register()
    (waiting,) = Speaker(control, "b", "old").register()
    assert isinstance(waiting, v2.Waiting)


def test_a_datagram_under_neither_key_is_rejected_once(control: ControlV2) -> None:
    assert Speaker(control, "a", "neither").announce() == []
    assert control.drops == {Drop.BAD_MAC: 1}


def test_an_end_under_both_keys_is_one_end(control: ControlV2) -> None:
    new, old = Speaker(control, "a", "new"), Speaker(control, "a", "old")
    for each in (new, old):
        each.register()
    assert told_by(control) == [Registered(PAIR, "a", A)]
    assert control.registered == 1
    old.leave()
    assert told_by(control) == []
    new.leave()
    assert told_by(control) == [Expired(PAIR, "a", left=True)]
    assert control.registered == 0


def test_an_end_is_awaited_if_it_is_absent_under_both_keys(control: ControlV2) -> None:
    Speaker(control, "a", "new").register()
    Speaker(control, "a", "old").register()
    assert control.absences() == Absences(1, (Absent(PAIR, "b", is_awaited=True),))
    Speaker(control, "b", "old").register()
    assert control.absences() == Absences(0, ())


def test_control_knows_who_does_not_use_the_first_key_yet(control: ControlV2) -> None:
    Speaker(control, "a", "new").register()
    Speaker(control, "a", "old").register()
    b = Speaker(control, "b", "old")
    b.register()
    assert control.behind() == [(PAIR, "b")]
    Speaker(control, "b", "new").register()
    assert control.behind() == []


@pytest.mark.parametrize("first", ["new", "old"])
def test_what_is_registered_under_a_key_that_stays_is_kept(control: ControlV2, first: str) -> None:
    for key in ("new", "old"):
        Speaker(control, "a", key).register()
    told_by(control)
    for keys in (["old", "new"], [first], [first, "new" if first == "old" else "old"]):
        control.replace_pairs(*({PAIR: KEYS[each]} for each in keys))
        assert told_by(control) == [], keys
        assert control.registered == 1, keys
    (introduction,) = Speaker(control, "b", first).register()
    assert isinstance(introduction, v2.Introduce)


def test_who_is_there_under_a_removed_key_alone_expires(control: ControlV2) -> None:
    Speaker(control, "a", "old").register()
    told_by(control)
    control.replace_pairs({PAIR: NEW_KEY})
    assert told_by(control) == [Expired(PAIR, "a", removed=True)]
    assert control.registered == 0
    assert Speaker(control, "a", "old").announce() == []


def test_a_relayed_link_outlives_the_removal_of_one_key_but_not_of_all(control: ControlV2) -> None:
    a = Speaker(control, "a", "old")
    a.register()
    for counter in (1, 2):
        a.say(v2.Bind(a.attempt, counter, a.cookie), RELAY_VIA)
    assert control.relay.bound == 1
    control.replace_pairs({PAIR: NEW_KEY})
    assert control.relay.bound == 1
    control.replace_pairs({PAIR: KEYS["neither"]})
    assert control.relay.bound == 0

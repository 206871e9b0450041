"""What a sealed `forward` carries: opened once, by the partner, on this link, and not late."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netpunch.wire import sealed as sealed_module
from netpunch.wire.drop import Drop
from netpunch.wire.envelope import Buffer, EndName
from netpunch.wire.keys import forward_epoch, generation_key
from netpunch.wire.sealed import OVERHEAD, WINDOW, Opener, ReplayWindow, Sealer, Sealing

KEY, OTHER_KEY, THIRD_KEY = (bytes([number]) * 32 for number in (1, 2, 3))
EPOCH = 7
FIRST_OF_NEXT_KEY = 2**32
LAST_COUNTER = 2**64 - 1


class End:
    """One end's sealing, a datagram at a time."""

    def __init__(self, name: EndName) -> None:
        self._drops: list[Drop] = []
        self.sealing = Sealing(name, self._drops.append)
        self.rekey = self.sealing.rekey

    def seal(self, text: bytes) -> bytes:
        [sealed] = self.sealing.seal([text])
        return sealed

    def open(self, datagram: bytes) -> bytes | Drop:
        """What it gives its program, or why it drops it."""
        opened = self.sealing.open([datagram])
        assert len(opened) + len(self._drops) == 1
        return opened[0] if opened else self._drops.pop()


def pair(*session_keys: bytes) -> tuple[End, End]:
    """Both ends of a link that has had these keys."""
    a, b = End("a"), End("b")
    for key in session_keys or (KEY,):
        a.rekey(key)
        b.rekey(key)
    return a, b


# The window.


@st.composite
def counters(draw: st.DrawFn) -> list[int]:
    """Mostly near each other and near the edges of the window, with some jumps."""
    at, found = draw(st.integers(1, 2**40)), []
    steps = st.one_of(
        st.integers(-3, 3),
        st.integers(-WINDOW - 2, -WINDOW + 2),
        st.integers(WINDOW - 2, WINDOW + 2),
        st.integers(-3 * WINDOW, 3 * WINDOW),
        st.integers(0, 2**33),
    )
    for step in draw(st.lists(steps, max_size=200)):
        at = min(max(1, at + step), LAST_COUNTER)
        found.append(at)
    return found


@given(counters())
def test_the_window_takes_what_its_model_takes(sequence: list[int]) -> None:
    window = ReplayWindow()
    taken: set[int] = set()
    for counter in sequence:
        new = counter not in taken and counter > max(taken, default=0) - WINDOW
        assert window.take(counter) == new
        if new:
            taken.add(counter)


def test_counter_zero_is_never_taken() -> None:
    """No datagram has it."""
    window = ReplayWindow()
    assert not window.take(0)
    assert window.take(1)


def test_the_window_is_as_wide_as_it_says() -> None:
    window = ReplayWindow()
    assert window.take(2 * WINDOW)
    assert window.take(WINDOW + 1)
    assert not window.take(WINDOW)


# Datagrams.


@given(st.lists(st.binary(max_size=2000), max_size=20))
def test_what_one_end_seals_the_other_opens(texts: list[bytes]) -> None:
    a, b = pair()
    for text in texts:
        for sender, receiver in ((a, b), (b, a)):
            sealed = sender.seal(text)
            assert len(sealed) == len(text) + OVERHEAD
            assert receiver.open(sealed) == text


def test_many_at_once_are_as_many_one_by_one() -> None:
    a, b = pair()
    texts = [b"%d" % number for number in range(100)]
    sealed = a.sealing.seal(texts)
    views: list[Buffer] = [memoryview(each) for each in sealed]
    forged: list[Buffer] = [sealed[3][:-1] + b"?", b"", b"\xf3", views[5]]
    assert b.sealing.open(views + forged) == texts
    assert b.sealing.open(sealed) == []
    assert a.open(b.seal(b"back")) == b"back"


def test_each_datagram_opens_once_in_any_order_within_the_window() -> None:
    a, b = pair()
    sealed = [a.seal(b"%d" % number) for number in range(WINDOW)]
    assert [b.open(each) for each in reversed(sealed)] == [
        b"%d" % number for number in reversed(range(WINDOW))
    ]
    assert {b.open(each) for each in sealed} == {Drop.STALE}


def test_a_datagram_that_is_too_late_does_not_open() -> None:
    a, b = pair()
    late, in_time, *others = (a.seal(b"x") for _ in range(WINDOW + 1))
    assert {b.open(each) for each in others} == {b"x"}
    assert b.open(late) is Drop.STALE
    assert b.open(in_time) == b"x"


def test_no_flipped_bit_opens() -> None:
    a, b = pair()
    sealed = a.seal(b"a datagram of a program")
    for bit in range(8 * len(sealed)):
        changed = bytearray(sealed)
        changed[bit // 8] ^= 1 << bit % 8
        assert b.open(bytes(changed)) in (Drop.BAD_MAC, Drop.MALFORMED)
    assert b.open(sealed) == b"a datagram of a program", "they have not used up its counter"


def test_no_other_length_opens() -> None:
    a, b = pair()
    sealed = a.seal(b"text")
    for length in range(len(sealed)):
        assert b.open(sealed[:length]) in (Drop.BAD_MAC, Drop.MALFORMED)
    assert b.open(sealed + b"\0") is Drop.BAD_MAC


def test_an_end_does_not_open_what_it_has_sealed() -> None:
    a, b = pair()
    assert a.open(a.seal(b"text")) is Drop.BAD_MAC
    assert b.open(b.seal(b"text")) is Drop.BAD_MAC


@given(st.binary(max_size=200), st.booleans())
def test_any_bytes_are_dropped_and_never_raise(data: bytes, begins_well: bool) -> None:
    _, b = pair()
    if begins_well:
        data = bytes((0xF3, forward_epoch(KEY))) + data
    assert isinstance(b.open(data), Drop)


def test_nothing_opens_before_there_is_a_link() -> None:
    a, _ = pair()
    assert End("b").open(a.seal(b"text")) is Drop.BAD_MAC


# Moves.


def test_after_a_move_what_is_under_way_still_opens_and_each_key_has_its_counters() -> None:
    a, b = pair(KEY)
    before = [a.seal(b"before") for _ in range(3)]
    assert b.open(before[0]) == b"before"
    for end in (a, b):
        end.rekey(OTHER_KEY)
    after = a.seal(b"after")
    assert after[2:10] == before[0][2:10], "counters begin anew"
    assert b.open(after) == b"after"
    assert b.open(before[1]) == b"before"
    assert (b.open(before[0]), b.open(before[1])) == (Drop.STALE, Drop.STALE)
    b.sealing.forget_previous()
    assert b.open(before[2]) is Drop.BAD_MAC


def test_only_the_current_and_the_previous_key_open() -> None:
    a, b = pair(KEY)
    first = a.seal(b"first")
    for key in (OTHER_KEY, THIRD_KEY):
        b.rekey(key)
    assert b.open(first) is Drop.BAD_MAC


def keys_of_one_epoch() -> tuple[bytes, bytes]:
    """The first two."""
    seen: dict[int, bytes] = {}
    for number in range(1000):
        key = number.to_bytes(32, "big")
        if (epoch := forward_epoch(key)) in seen:
            return seen[epoch], key
        seen[epoch] = key
    raise AssertionError


def test_keys_with_the_same_epoch_are_told_from_each_other() -> None:
    old, new = keys_of_one_epoch()
    a, b = pair(old)
    before = [a.seal(b"before") for _ in range(2)]
    for end in (a, b):
        end.rekey(new)
    assert b.open(before[0]) == b"before"
    assert b.open(a.seal(b"after")) == b"after"
    assert b.open(before[1]) == b"before"
    assert b.open(before[0]) is Drop.STALE


# Very many datagrams.


def beginning_at(counter: int) -> Iterator[bytes]:
    sealer = Sealer(KEY, EPOCH, counter=counter - 1)
    while True:
        yield from sealer.seal([b"x"])


def test_each_generation_has_a_key_of_its_own_and_the_window_spans_two() -> None:
    opener = Opener(KEY, EPOCH)
    datagrams = beginning_at(FIRST_OF_NEXT_KEY - 2)
    old, late, new, *others = (next(datagrams) for _ in range(6))
    for each in (old, new, late, *others):
        assert opener.open(each) == b"x"
    assert {opener.open(each) for each in (old, new, late, *others)} == {Drop.STALE}
    for generation in range(2, 5):
        assert opener.open(next(beginning_at(generation << 32))) == b"x"
    assert opener.open(next(datagrams)) is Drop.BAD_MAC, "its key is gone"


@given(st.integers(0, 5), st.lists(st.integers(0, 4), max_size=5))
def test_a_generation_may_end_within_datagrams_that_are_sealed_at_once(
    before: int, counts: list[int]
) -> None:
    at_once = Sealer(KEY, EPOCH, counter=FIRST_OF_NEXT_KEY - 1 - before)
    one_by_one = Sealer(KEY, EPOCH, counter=FIRST_OF_NEXT_KEY - 1 - before)
    for count in counts:
        texts = [b"%d" % number for number in range(count)]
        assert at_once.seal(texts) == [one_by_one.seal([text])[0] for text in texts]


def test_strangers_make_an_end_derive_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    derived: list[int] = []

    def derive(key: bytes, generation: int) -> bytes:
        derived.append(generation)
        return generation_key(key, generation)

    opener = Opener(KEY, EPOCH)
    monkeypatch.setattr(sealed_module, "generation_key", derive)
    for generation in range(5):
        forged = bytes((0xF3, EPOCH)) + (generation << 32).to_bytes(8, "big") + bytes(40)
        assert opener.open(forged) is Drop.BAD_MAC
    assert derived == []


def test_the_counter_never_begins_again() -> None:
    sealer = Sealer(KEY, EPOCH, counter=LAST_COUNTER - 1)
    [last] = sealer.seal([b"last"])
    assert last[2:10] == b"\xff" * 8
    for _ in range(3):
        with pytest.raises(struct.error):
            sealer.seal([b"one more"])

"""Which ends of a control's pairs are not registered, and when they were heard last.

A control may have a hundred thousand pairs of which nobody is there yet: those cost little."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from netpunch.core.control.registrations import EndRecord, Pair
from netpunch.wire.envelope import EndName

ENDS: tuple[EndName, ...] = ("a", "b")


class Absent(NamedTuple):
    """An end that is not registered, under none of its keys."""

    pair: str
    end: EndName
    last_heard: float | None = None
    """None: it has not been there since control began."""
    is_awaited: bool = False
    """Its partner is registered."""


class Absences(NamedTuple):
    """`number`: of all of them. `ends` are the first: those whose partners are there, those
    heard last, and those that were never there."""

    number: int
    ends: tuple[Absent, ...]


def absences(pairs: Iterable[Pair], most: int) -> Absences:
    """Of all pairs; `ends` are `most` at most, but all that are awaited."""
    known: list[Absent] = []
    unseen: list[Pair] = []
    strangers = 0
    for pair in pairs:
        a, b = pair.a, pair.b
        if a is not None and b is not None and a.is_registered and b.is_registered:
            continue
        if a is None or b is None or _are_strangers(a, b):
            strangers += 2
            if strangers <= most + 1:
                unseen.append(pair)
        elif pair.twin is not None:
            known += _absent_under_both_keys(pair)
        else:
            if not a.is_registered:
                known.append(Absent(pair.name, "a", a.last_heard, b.is_registered))
            if not b.is_registered:
                known.append(Absent(pair.name, "b", b.last_heard, a.is_registered))
    never = (Absent(pair.name, end) for pair in unseen for end in ENDS)
    return Absences(len(known) + strangers, first([*known, *never], most))


def first(ends: list[Absent], most: int) -> tuple[Absent, ...]:
    """Those that matter most come first."""
    ends.sort(key=_rank)
    awaited = sum(end.is_awaited for end in ends)
    return tuple(ends[: max(most, awaited)])


def _are_strangers(a: EndRecord, b: EndRecord) -> bool:
    """Whether neither has been there since control began."""
    return a.pair.twin is None and not any(
        each.is_registered or each.last_heard is not None for each in (a, b)
    )


def _rank(end: Absent) -> tuple[bool, bool, float]:
    never = end.last_heard is None
    return not end.is_awaited, never, 0.0 if end.last_heard is None else -end.last_heard


def _absent_under_both_keys(pair: Pair) -> Iterator[Absent]:
    for record in pair.records:
        if not record.is_present:
            last = _last_heard(record)
            yield Absent(pair.name, record.end, last, record.partner.is_present)


def _last_heard(record: EndRecord) -> float | None:
    twin = record.twin
    heard = [each.last_heard for each in (record, twin) if each is not None]
    return max((each for each in heard if each is not None), default=None)

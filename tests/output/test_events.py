"""Each event has its JSON line, and its source documents it (docs/events.md is made of that)."""

from __future__ import annotations

import json

import pytest

from netpunch.output import events
from netpunch.output.journal import Journal
from netpunch.reasons import Reason
from tests.docs.events import Documented, documented_events, documented_reasons
from tests.output.event_examples import AT, EXAMPLES, LINES, NODE, RUN


def test_every_event_has_its_json_line_byte_for_byte() -> None:
    written: list[str] = []

    def write(line: bytes) -> bool:
        written.append(line.decode())
        return True

    journal = Journal(write, node=NODE, clock=lambda: AT)
    journal.run = RUN
    for event, line in zip(EXAMPLES, LINES, strict=True):
        assert journal.emit(event).decode() == f"{line}\n"
    assert written == [f"{line}\n" for line in LINES]


def test_every_type_of_event_has_a_name_and_an_example() -> None:
    kinds = {*events.Event.__subclasses__(), *events.EndEvent.__subclasses__()} - {events.EndEvent}
    assert kinds == {type(event) for event in EXAMPLES}
    names = """
        run.start run.ready run.reload run.stop
        pair.waiting pair.seen_inside pair.mapped pair.introduced
        pair.up pair.moved pair.stale pair.alive pair.down pair.failed
        hook.start hook.output hook.end env.written
        control.ready control.registered control.end_inside control.failed control.expired
        auth.rejected role.conflict datagram
    """
    assert sorted(kind.event for kind in kinds) == sorted(names.split())
    assert {json.loads(line)["event"] for line in LINES} == set(names.split())


@pytest.mark.parametrize("event", list(documented_events()), ids=lambda event: event.name)
def test_the_source_says_what_each_field_is_and_when_it_is_absent(event: Documented) -> None:
    assert event.doc.endswith(".")
    for field in event.fields:
        meaning, absent = field.split()
        assert meaning, field.name
        assert bool(absent) is field.optional, field.name


def test_the_source_says_what_each_reason_means_and_its_words_for_people() -> None:
    assert [reason for reason, _ in documented_reasons()] == list(Reason)
    assert all(doc for _, doc in documented_reasons())
    assert all(reason.words for reason in Reason)

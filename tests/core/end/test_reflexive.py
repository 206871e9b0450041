"""An end announces in one family, and asks the control where it is seen in the other one."""

from __future__ import annotations

from typing import Any

from netpunch.address import Address
from netpunch.core import timing
from netpunch.core.endpoints import ControlEndpoints
from netpunch.wire import v2
from netpunch.wire.drop import Drop
from tests.core.v2_bench import LOCAL, Bench, Timed
from tests.core.v2_pair import CONTROL, A

CONTROL_V6 = Address("2001:db8::1", 10001)
SEEN_V6 = Address("2001:db8:5::1", 6000)
SOCKETS = {0: LOCAL, 1: Address("::", 5000)}


def bench(**settings: Any) -> Bench:
    return Bench(**{"sockets": SOCKETS, "other_family": (CONTROL_V6,), **settings})


def questions(bench: Bench) -> list[Timed]:
    return [each for each in bench.sent if isinstance(each.sent.message, v2.Observe)]


def answer(bench: Bench, seen: Address = SEEN_V6, source: Address = CONTROL_V6) -> None:
    question = questions(bench)[-1].sent.message
    assert isinstance(question, v2.Observe)
    bench.control_says(v2.Observed(question.echo, seen), source)


def test_control_is_asked_at_once_from_the_socket_of_that_family() -> None:
    asking = bench()
    ((time, sent),) = questions(asking)
    assert (time, sent.destination, sent.via) == (asking.now, CONTROL_V6, 1)


def test_what_it_answers_is_told_to_the_partner_at_once() -> None:
    asking = bench()
    asking.wait()
    announced = len(asking.all(v2.Announce))
    answer(asking)
    asking.run(0.0)
    assert len(asking.all(v2.Announce)) == announced + 1
    assert asking.own_card().observed == (A, SEEN_V6)


def test_what_the_card_says_already_is_not_announced_again() -> None:
    asking = bench(host_addresses=[SEEN_V6.host], sockets={0: LOCAL, 1: Address("::", 6000)})
    asking.wait()
    announced = len(asking.all(v2.Announce))
    answer(asking)
    asking.run(1.0)
    assert len(asking.all(v2.Announce)) == announced
    assert asking.own_card().hosts == (SEEN_V6,)


def test_an_unanswered_question_is_repeated_soon_and_then_seldom() -> None:
    asking = bench()
    begin = asking.now
    asking.run(40.0)
    times = [round(time - begin, 3) for time, _ in questions(asking)]
    assert times == [0.0, 0.06, 0.16, 0.26, 0.46, 0.66, 1.06, 1.46, 1.86, 16.86, 31.86]


def test_an_answered_one_keeps_the_mapping_and_notices_another_address() -> None:
    asking = bench()
    answer(asking)
    asking.wait()
    asking.run(timing.WAITING_INTERVAL + 3.0)
    assert len(questions(asking)) == 2
    answer(asking, SEEN_V6._replace(port=7))
    asking.run(0.0)
    assert asking.own_card().observed == (A, SEEN_V6._replace(port=7))


def test_answers_count_once_and_from_that_control_only() -> None:
    asking = bench()
    question = questions(asking)[-1].sent.message
    assert isinstance(question, v2.Observe)
    answer(asking, source=CONTROL)
    assert asking.drops(Drop.UNEXPECTED_SOURCE) == 1
    asking.control_says(v2.Observed(b"anything", SEEN_V6), CONTROL_V6)
    answer(asking)
    answer(asking, A)
    assert asking.drops(Drop.UNEXPECTED) == 2
    asking.run(0.1)
    assert asking.own_card().observed == (SEEN_V6,)


def test_nobody_is_asked_without_a_socket_or_where_a_control_is_announced_to_in_that_family() -> (
    None
):
    assert questions(Bench(other_family=(CONTROL_V6,))) == []
    both = (CONTROL, Address("2001:db8::2", 10001))
    assert questions(bench(controls=both)) == []


def test_a_held_link_needs_no_more_of_it() -> None:
    asking = bench()
    asking.close()
    asked = len(questions(asking))
    asking.run(60.0)
    assert len(questions(asking)) == asked


def test_a_control_that_moved_is_asked_at_its_new_place() -> None:
    asking = bench()
    moved = Address("2001:db8::99", 10001)
    asking.end.controls_found(ControlEndpoints((CONTROL,), other_family=(moved,)), asking.now)
    asking.run(0.0)
    assert questions(asking)[-1].sent.destination == moved

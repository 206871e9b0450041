"""Classic pairs over a virtual link, ours and Go's in every mix, under loss and at any start."""

from __future__ import annotations

from itertools import combinations, product
from typing import Literal

import pytest

from netpunch.address import Address
from netpunch.core.classic.control import ClassicControl
from netpunch.core.classic.end import ClassicEnd
from netpunch.core.endpoints import ControlEndpoints
from netpunch.core.events import Finished, Linked
from netpunch.core.machine import Machine
from netpunch.wire.classic import LETTERS
from tests.core.classic.classic_link import VIA, Link, Sent
from tests.core.classic.go_model import GoControl, GoEnd

Maker = Literal["ours", "go"]

SECRET = b"correct horse battery staple"
CONTROL = Address("203.0.113.1", 7777)
A = Address("192.0.2.1", 5000)
B = Address("198.51.100.1", 6000)
MIXES: list[tuple[Maker, Maker]] = [("ours", "ours"), ("ours", "go"), ("go", "ours")]
CONTROLS: tuple[Maker, Maker] = ("ours", "go")


def make_control(maker: Maker) -> Machine:
    if maker == "go":
        return GoControl(SECRET)
    return ClassicControl(dict.fromkeys(LETTERS, SECRET))


def make_end(maker: Maker, letter: str, address: Address, now: float) -> Machine:
    if maker == "go":
        return GoEnd(letter, SECRET, CONTROL, now)
    return ClassicEnd(
        letter=letter,
        secret=SECRET,
        endpoints=ControlEndpoints((CONTROL,)),
        sockets={VIA: Address("0.0.0.0", address.port)},
        deadline=120.0,
        deadline_from_start=True,
        random=lambda count: bytes(count),
        now=now,
    )


def begin(
    link: Link,
    control: Maker,
    a: Maker,
    b: Maker,
    *,
    starts: tuple[float, float] = (0.0, 0.0),
    filtered: bool = True,
) -> None:
    link.start(CONTROL, lambda now: make_control(control))
    ends: list[tuple[Maker, str, Address, float]] = [
        (a, "a", A, starts[0]),
        (b, "b", B, starts[1]),
    ]
    for maker, letter, address, at in ends:
        link.start(
            address,
            lambda now, maker=maker, letter=letter, address=address: make_end(  # type: ignore[misc]
                maker, letter, address, now
            ),
            at=at,
            filtered=filtered,
        )


def linked_to(link: Link, address: Address) -> Address | None:
    """Where an end, ours or Go's, says that its link leads."""
    machine = link.hosts[address].machine
    if isinstance(machine, GoEnd):
        return machine.peer if machine.done else None
    return next((event.remote for event in link.events(address) if isinstance(event, Linked)), None)


def is_linked(link: Link) -> bool:
    return (linked_to(link, A), linked_to(link, B)) == (B, A)


@pytest.mark.parametrize("control", CONTROLS)
@pytest.mark.parametrize(("a", "b"), MIXES)
@pytest.mark.parametrize("delay", [0.001, 0.02, 0.15, 0.4])
@pytest.mark.parametrize("late", [0.0, 0.05, 0.3, 0.7, 3.0, 15.0, 29.0, 31.0, 62.0])
def test_every_mix_of_ends_links_for_any_late_start(
    control: Maker, a: Maker, b: Maker, delay: float, late: float
) -> None:
    for starts in ((0.0, late), (late, 0.0)):
        link = Link(delay)
        begin(link, control, a, b, starts=starts)
        link.run(late + 40.0)
        assert is_linked(link)


@pytest.mark.parametrize("late", [0.0, 0.3, 0.7, 3.0, 29.0])
def test_push_of_our_control_links_two_go_ends_at_once(late: float) -> None:
    link = Link()
    begin(link, "ours", "go", "go", starts=(0.0, late))
    link.run(late + 2.0)
    assert is_linked(link)


@pytest.mark.parametrize("delay", [0.0113, 0.0217, 0.0531, 0.0973, 0.127, 0.153, 0.23, 0.41])
def test_push_of_our_control_strands_no_go_pair(delay: float) -> None:
    # Go strands some open pairs by itself, when a pong and a ping cross; a push adds none.
    for late in (0.0, 0.052, 0.103, 0.155, 0.31, 0.46, 0.78, 1.6):
        outcomes: dict[Maker, bool] = {}
        for control in CONTROLS:
            link = Link(delay)
            begin(link, control, "go", "go", starts=(0.0, late), filtered=False)
            link.run(100.0)
            outcomes[control] = is_linked(link)
        assert outcomes["ours"] >= outcomes["go"], late


def test_late_partner_costs_our_end_5_s_at_most_with_gos_control() -> None:
    link = Link()
    begin(link, "go", "ours", "ours", starts=(0.0, 20.0))
    link.run(26.0)
    assert is_linked(link)


def test_late_partner_costs_half_a_second_with_our_control() -> None:
    link = Link()
    begin(link, "ours", "ours", "ours", starts=(0.0, 20.0))
    link.run(20.6)
    assert is_linked(link)


def test_open_ends_link_within_two_and_a_half_round_trips_of_the_later_start() -> None:
    # Announcement and introduction; ping and pong, which links one; its close links the other.
    link = Link(delay=0.02)
    begin(link, "go", "ours", "ours", starts=(0.0, 1.0), filtered=False)
    link.run(5.0)
    times = [link.time_of(address, Linked) for address in (A, B)]
    assert times == [pytest.approx(1.1), pytest.approx(1.08)]


def test_our_classic_ends_free_their_ports_soon() -> None:
    link = Link()
    begin(link, "ours", "ours", "ours")
    link.run(5.0)
    for address in (A, B):
        linked, finished = link.time_of(address, Linked), link.time_of(address, Finished)
        assert linked is not None
        assert finished is not None
        assert finished - linked <= 1.3


def test_moved_classic_partner_is_found() -> None:
    moved = Address("198.51.100.1", 6001)
    link = Link(lose=lambda sent: B in (sent.source, sent.destination) and sent.payload in b"xyz")
    begin(link, "ours", "ours", "ours")
    link.stop(B, at=2.0)
    link.start(moved, lambda now: make_end("ours", "b", moved, now), at=2.0, filtered=True)
    link.run(4.0)
    assert (linked_to(link, A), linked_to(link, moved)) == (moved, A)


def is_between_ends(sent: Sent) -> bool:
    return CONTROL not in (sent.source, sent.destination)


class LoseByNumber:
    """Loses those of the datagrams between the ends whose numbers are given."""

    def __init__(self, numbers: tuple[int, ...]) -> None:
        self._numbers = numbers
        self._count = 0

    def __call__(self, sent: Sent) -> bool:
        if not is_between_ends(sent):
            return False
        self._count += 1
        return self._count - 1 in self._numbers


@pytest.mark.parametrize("filtered", [True, False])
def test_our_ends_link_with_any_of_the_first_nine_datagrams_lost(filtered: bool) -> None:
    for pattern in product((False, True), repeat=9):
        lost = tuple(number for number, is_lost in enumerate(pattern) if is_lost)
        link = Link(lose=LoseByNumber(lost))
        begin(link, "ours", "ours", "ours", filtered=filtered)
        link.run(10.0)
        assert is_linked(link), lost


@pytest.mark.parametrize(("a", "b"), [("ours", "go"), ("go", "ours")])
def test_mixed_pair_links_with_any_three_datagrams_lost(a: Maker, b: Maker) -> None:
    for lost in combinations(range(10), 3):
        link = Link(lose=LoseByNumber(lost))
        begin(link, "go", a, b)
        link.run(60.0)
        assert is_linked(link), lost


@pytest.mark.parametrize("payload", ["x", "y", "z"])
@pytest.mark.parametrize(("a", "b"), MIXES)
def test_pair_links_with_the_first_three_datagrams_of_a_kind_lost(
    a: Maker, b: Maker, payload: str
) -> None:
    seen = 0

    def lose(sent: Sent) -> bool:
        nonlocal seen
        if is_between_ends(sent) and sent.payload == payload.encode():
            seen += 1
            return seen <= 3
        return False

    link = Link(lose=lose)
    begin(link, "ours", a, b)
    link.run(60.0)
    assert seen > 3
    assert is_linked(link)


@pytest.mark.parametrize(("a", "b"), MIXES)
def test_our_classic_end_sends_no_ping_after_a_pong(a: Maker, b: Maker) -> None:
    link = Link()
    begin(link, "ours", a, b)
    link.run(5.0)
    for address, maker in ((A, a), (B, b)):
        said = b"".join(
            sent.payload for sent in link.sent if sent.source == address and is_between_ends(sent)
        )
        if maker == "ours":
            assert b"x" not in said.partition(b"y")[2]


def test_classic_link_is_deterministic() -> None:
    runs = []
    for _ in range(2):
        link = Link()
        begin(link, "ours", "ours", "go", starts=(0.0, 1.0))
        link.run(10.0)
        runs.append((link.sent, link.events(A)))
    assert runs[0] == runs[1]

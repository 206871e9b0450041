"""A sample of `python -m tests.sim.sealed`; sealed links that move, are relayed, or do not come
about because only one end seals."""

from __future__ import annotations

from functools import partial

import pytest

from netpunch.core.events import PathKind
from netpunch.reasons import Reason
from netpunch.wire import card
from tests.sim.held import Watch
from tests.sim.moves import Fixed, run_seed
from tests.sim.nat import BLOCKS_UDP, HARD_RANDOM, PORT_RESTRICTED_CONE
from tests.sim.promises import TALLY
from tests.sim.scenarios import Scenario, Setup
from tests.sim.sealed import HONEST_EVERY, KINDS, attack
from tests.sim.setups import Place
from tests.sim.traffic import Traffic

SAMPLE = 500
CONE = (PORT_RESTRICTED_CONE,)
HOLDS = {"holds": True, "deadline_from_start": False}
SEALED = HOLDS | {"sealed": True}
PATIENCE = 15.0


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_that_an_attacker_sends_reaches_the_program(kind: str) -> None:
    TALLY.runs += 1
    result = attack(kind, SAMPLE)
    assert (result.attacks, result.delivered) == (SAMPLE, 0)
    assert result.honest == 2 * SAMPLE / HONEST_EVERY
    assert sum(result.drops.values()) == SAMPLE, "all are counted"


@pytest.mark.parametrize("event", ["NAT's address changes", "host goes to another uplink"])
def test_a_sealed_link_moves_as_any_other(event: str) -> None:
    for seed in range(5):
        TALLY.runs += 1
        outcome = run_seed(seed, Fixed(event, "nothing", "holding", 0.0, 0.02, False, sealed=True))
        assert not outcome.broken, f"seed {seed}"
        assert (outcome.outage or 0.0) <= 2.5, f"seed {seed}"


def test_whatever_happens_sealed_payload_flows_again() -> None:
    for seed in range(12):
        TALLY.runs += 1
        outcome = run_seed(seed, Fixed(sealed=True))
        assert not outcome.broken, f"{outcome} {outcome.trace}"


@pytest.mark.parametrize("nats", [((HARD_RANDOM,), (HARD_RANDOM,)), ((BLOCKS_UDP,), CONE)])
def test_a_relay_carries_it_as_it_is(nats: tuple[Place, Place]) -> None:
    """Also over TLS, where UDP is blocked."""
    TALLY.runs += 1
    run = Scenario(1, Setup(nat_a=nats[0], nat_b=nats[1], relay=True, tls=True, settings=SEALED))
    watch = Watch(run)
    run.start()
    assert run.run_until(partial(getattr, watch, "same"), 2 * PATIENCE)
    assert {side.link.path for side in run.sides if side.link} == {PathKind.RELAY}
    traffic = Traffic(run)
    run.run(1.0)
    assert traffic.flows_since(run.network.now - 0.5)


@pytest.mark.parametrize("sealing", ["a", "b"])
def test_ends_of_which_one_seals_both_say_so(sealing: str) -> None:
    TALLY.runs += 1
    run = mismatch(sealing)
    for side in run.sides:
        assert side.failure is not None
        assert side.failure.reason is Reason.PARTNER_MODE
        assert "`forward: {sealed: on}` at both ends" in side.failure.detail


@pytest.mark.parametrize("sealing", ["a", "b"])
def test_an_end_that_knows_nothing_of_sealing_says_that_modes_differ(
    sealing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An older version, which does not know the bit."""
    TALLY.runs += 1
    as_it_is = card.Card.unpack.__func__  # type: ignore[attr-defined]

    def unpack(cls: type[card.Card], body: bytes) -> card.Card:
        read: card.Card = as_it_is(cls, body)
        if read.sealed:  # only the older end meets such a card
            read = read._replace(
                holds=bool(body[40]), sealed=False, nat_class=read.nat_class | card.SEALED
            )
        return read

    monkeypatch.setattr(card.Card, "unpack", classmethod(unpack))
    run = mismatch(sealing)
    for side in run.sides:
        assert side.failure is not None
        assert side.failure.reason is Reason.PARTNER_MODE
        about_sealing = "sealed: on" in side.failure.detail
        assert about_sealing is (side.name == sealing)


def mismatch(sealing: str) -> Scenario:
    a, b = (SEALED, HOLDS) if sealing == "a" else (HOLDS, SEALED)
    run = Scenario(1, Setup(nat_a=CONE, nat_b=CONE, settings_a=a, settings_b=b))
    run.start()
    assert run.run_until(lambda: all(side.ended for side in run.sides), PATIENCE)
    assert not run.linked
    return run

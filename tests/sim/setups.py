"""Which networks the tests build: kinds of places where an end may stand, and random mixtures."""

from __future__ import annotations

import dataclasses
from random import Random
from typing import Any

from tests.sim.nat import (
    ADDRESS_HARD_RANDOM,
    BLOCKS_UDP,
    FULL_CONE,
    HARD_RANDOM,
    HARD_STEP,
    LINUX,
    PORT_RESTRICTED_CONE,
    RANDOM_CONE,
    RESTRICTED_CONE,
    NatBehavior,
)
from tests.sim.scenarios import Setup

Place = tuple[NatBehavior, ...]
"""The NATs in front of an end, from its host outwards."""

CONES: dict[str, Place] = {
    "full": (FULL_CONE,),
    "restricted": (RESTRICTED_CONE,),
    "port-restricted": (PORT_RESTRICTED_CONE,),
    "random-port": (RANDOM_CONE,),
    "double": (PORT_RESTRICTED_CONE, RANDOM_CONE),
    "triple": (RANDOM_CONE, RESTRICTED_CONE, PORT_RESTRICTED_CONE),
}
"""Endpoint-independent mapping all the way."""

EASY: dict[str, Place] = {"open": (), "linux": (LINUX,), **CONES}
"""Places between any two of which plain pings open a path, if they cross at the right time."""

HARD: dict[str, Place] = {
    "hard-step": (HARD_STEP,),
    "hard-random": (HARD_RANDOM,),
    "address-hard-random": (ADDRESS_HARD_RANDOM,),
    "double-hard": (PORT_RESTRICTED_CONE, HARD_RANDOM),
    "blocked": (BLOCKS_UDP,),
}

ANYWHERE: dict[str, Place] = {**EASY, **HARD}
SHORT_TIMEOUT = 20.0
"""Below the 30 s that NATs in the field have at least, above the 15 s between announcements."""


def easy_setup(random: Random, **fixed: Any) -> Setup:
    """A network of tolerable quality, in which both ends must find each other."""
    return Setup(**{**_places(random, EASY), **_quality(random, loss=0.1), **fixed})


def any_setup(random: Random, **fixed: Any) -> Setup:
    """Any network at all, up to a very bad one."""
    setup = {**_places(random, ANYWHERE), **_quality(random, loss=0.5)}
    if random.random() < 0.2:
        setup["shared"] = (random.choice([FULL_CONE, PORT_RESTRICTED_CONE, LINUX]),)
    return Setup(**{**setup, **fixed})


def _places(random: Random, places: dict[str, Place]) -> dict[str, Any]:
    def place() -> Place:
        chosen = random.choice(list(places.values()))
        return tuple(
            dataclasses.replace(
                nat,
                hairpin=random.random() < 0.3,
                timeout=random.choice([SHORT_TIMEOUT, 120.0]),
            )
            for nat in chosen
        )

    return {"nat_a": place(), "nat_b": place()}


def _quality(random: Random, loss: float) -> dict[str, Any]:
    return {
        "skew": random.choice([0.0, random.uniform(-1, 1), random.uniform(-15, 15)]),
        "delay": random.uniform(0.0, 0.1),
        "delay_a": random.uniform(0.0, 0.2),
        "delay_b": random.uniform(0.0, 0.2),
        "jitter": random.choice([0.0, random.uniform(0.0, 0.1)]),
        "loss": random.choice([0.0, random.uniform(0.0, loss)]),
        "duplicate": random.choice([0.0, random.uniform(0.0, 0.2)]),
    }

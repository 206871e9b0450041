"""Nonces for a control, which seals whatever is asked of it, for as long as anybody asks.

Random ones may repeat after 2^32 datagrams under one key, which recordings, replayed at full
speed, would use up in hours. These consist of a random half, drawn anew for every 2^32 of them,
and a counter: what two boots of a control and all its neighbours ever draw is far from repeating.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain, repeat
from struct import Struct

from netpunch.core.machine import Random

RANDOM_LENGTH = 8
COUNTS = 1 << 32
"""Of a counter of 32 bits."""
_pack = Struct(f"!{RANDOM_LENGTH}sI").pack


def nonces(random: Random, counts: int = COUNTS) -> Iterator[bytes]:
    """Nonces without end, each given once; `counts` of them have the same random part."""
    draws = iter(lambda: random(RANDOM_LENGTH), b"")
    # All of it is done by C code: a control needs one for each datagram.
    return chain.from_iterable(map(_pack, repeat(drawn), range(counts)) for drawn in draws)

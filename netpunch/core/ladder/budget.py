"""What each rung may spend, for one partner attempt, whoever asks for more. PROTOCOL's figures,
checked in the simulator (`python -m tests.sim.matrix`)."""

from typing import NamedTuple

PLAIN_PATIENCE = 0.25
"""Seconds from the introduction that plain pings have for themselves: a round trip and a half of
most of the Internet. Easy pairs are linked by then and never see a ladder."""
PARTNER_PATIENCE = 1.5
"""Seconds to wait for the partner's NAT class; then it is taken for easy."""
PROBE_RATE = 200.0
"""Probes a second, for all ends of a process: what looks like a flood is treated as one."""
PROBE_BURST = 20
"""A quiet NAT's bracket is scanned at once; 180 a second are left for the rest."""


class Budget(NamedTuple):
    """`probes` and `sockets` in all rounds; `patience`: seconds for the effect of one."""

    probes: int = 0
    sockets: int = 0
    rounds: int = 1
    patience: float = 1.0


SURVEY_SOCKETS = 4
"""Three are seen by the observers, one pings the partner in their midst."""
BRACKET_ROUNDS = 8
"""A busy NAT moves on within tenths of a second: a fresh bracket a second has its chance."""
OFFER_BRACKET = Budget(sockets=BRACKET_ROUNDS * SURVEY_SOCKETS, rounds=BRACKET_ROUNDS)
SCAN_WINDOW = 64
"""Ports that hold for 0.3 s at 100 foreign allocations a second, and then some."""
SCAN_SLACK = 8
"""Steps beyond the bracket: foreign allocations between the partner's ping and its neighbour."""
SCAN_PASSES = 4
"""Of one bracket: a probe may be lost before it has opened our own NAT."""
SCAN_BRACKET = Budget(
    probes=BRACKET_ROUNDS * SCAN_WINDOW, rounds=BRACKET_ROUNDS * SCAN_PASSES, patience=0.2
)
DIAGONAL_WIDTH = 16
"""Sockets, one target port each."""
DIAGONAL_PASSES = 6
"""Half a second at the probes' rate: longer than cards take to cross."""
DIAGONAL = Budget(
    probes=BRACKET_ROUNDS * DIAGONAL_WIDTH * DIAGONAL_PASSES,
    sockets=BRACKET_ROUNDS * (SURVEY_SOCKETS + DIAGONAL_WIDTH),
    rounds=BRACKET_ROUNDS,
    patience=0.5,
)
OPEN_MANY = Budget(probes=2 * 256, sockets=256, rounds=2, patience=7.2)
"""256 open ports of 64,512: of 1,024 probes one hits with 98.3 %. The second round keeps the
mappings open, and opens those whose first ping was lost."""
SPRAY = Budget(probes=2 * 1024, rounds=2, patience=1.5)
FRESH_PORT = Budget(sockets=1, patience=5.0)
HOPELESS = Budget(patience=4.0)
"""Then the verdict."""

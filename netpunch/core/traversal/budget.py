"""What each strategy may spend for one partner attempt, whatever its card says: the figures of
docs/protocol.md, checked in the simulator (`python -m tests.sim.matrix`)."""

from typing import NamedTuple

PLAIN_PATIENCE = 0.25
"""Seconds from the introduction for plain pings alone: a round trip and a half of most of the
Internet. Easy pairs are linked by then, without any strategy."""
PARTNER_PATIENCE = 1.5
"""Seconds to wait for the partner's NAT class; then it is taken for easy."""
PROBE_RATE = 200.0
"""Probes a second, of all ends of a process: routers drop what looks like a flood."""
PROBE_BURST = 20
"""A quiet NAT's bracket is scanned at once; 180 a second are left for the rest."""


class Budget(NamedTuple):
    """`probes` and `sockets` in all rounds; `patience`: seconds for the effect of one."""

    probes: int = 0
    sockets: int = 0
    rounds: int = 1
    patience: float = 1.0


SURVEY_SOCKETS = 4
"""Three ask the reflectors, one pings the partner in between."""
BRACKET_ROUNDS = 8
"""A busy NAT moves on within tenths of a second; a fresh bracket each second has a chance."""
OFFER_BRACKET = Budget(sockets=BRACKET_ROUNDS * SURVEY_SOCKETS, rounds=BRACKET_ROUNDS)
SCAN_WINDOW = 64
"""Ports: at 100 foreign allocations a second the bracket stays within them for more than 0.3 s."""
SCAN_SLACK = 8
"""Steps beyond the bracket: foreign allocations between the partner's ping and its neighbour."""
SCAN_PASSES = 4
"""Over one bracket: a probe may be lost before it has opened our own NAT."""
SCAN_BRACKET = Budget(
    probes=BRACKET_ROUNDS * SCAN_WINDOW, rounds=BRACKET_ROUNDS * SCAN_PASSES, patience=0.2
)
DIAGONAL_WIDTH = 16
"""Sockets, one target port each."""
DIAGONAL_PASSES = 6
"""Half a second at the rate of probes: longer than the ends' cards take to cross."""
DIAGONAL = Budget(
    probes=BRACKET_ROUNDS * DIAGONAL_WIDTH * DIAGONAL_PASSES,
    sockets=BRACKET_ROUNDS * (SURVEY_SOCKETS + DIAGONAL_WIDTH),
    rounds=BRACKET_ROUNDS,
    patience=0.5,
)
OPEN_PORTS = 276
"""As many as MOST_SOCKETS leaves, of 64,512: of 1,024 probes one hits with 98.8 %."""
FRESH_PORTS = 48
"""Of each later round. The partner's NAT lets in what comes from a port that was probed before:
after 5 s of the other end's spray one in 70, three times what a probe of its own hits. About 50
a second fill no NAT's table: with the first ones 1,380 mappings at most."""
OPEN_ROUNDS = 24
"""Longer than all probes of a spray take, also if a second turn is needed."""
OPEN_MANY = Budget(
    probes=OPEN_PORTS + (OPEN_ROUNDS - 1) * FRESH_PORTS,
    sockets=OPEN_PORTS + (OPEN_ROUNDS - 1) * FRESH_PORTS,
    rounds=OPEN_ROUNDS,
    patience=0.75,
)
"""OPEN_PORTS at a time. A fresh port is open for a second: longer than a round trip."""
SPRAY_ROUNDS = 3
"""Of 1,024 probes each. Two suffice for 276 open ports; with the 152 that an end of many in a
process has, three hit with 99.9 %."""
SPRAY = Budget(probes=SPRAY_ROUNDS * 1024, patience=0.5)
"""Without a pause: what one probe does is seen while the next ones are on their way."""
MAPPINGS_LIVE = 20.0
"""Seconds that every NAT's mappings outlive without a datagram: the shortest timeouts are 30 s."""
FRESH_PORT = Budget(sockets=1, patience=5.0)
HOPELESS = Budget(patience=4.0)
"""Afterwards the end fails."""

TURN = 18.0
"""Seconds after which a turn goes to the next end in the queue, if there is one: a whole spray. A
partner that also queues in its own process gets its turn to spray within one other turn."""
SPRAY_TURN = 8.0
"""All probes of a round, and the openers of another end of the process at the same rate."""
TURN_SPREAD = 0.2
"""Turns are longer by up to this part, so that two processes whose ends wait for each other do not
change turns in step for ever."""
CROSS_PATIENCE = 1.0
"""Seconds, up to twice this, that an end keeps its turn for a partner that queues for the same,
while others want it: their partners may be what that one waits for."""
MOST_CUTS = 8
"""How often a partner attempt gets another turn after one that was too short."""
QUEUE_NOTICE = 0.05
"""Seconds without the turn after which our card says so: a free turn is there at once."""
QUEUED_SILENCE = 10.0
"""A partner that control, which repeats itself each second, has not introduced for so long is no
longer believed to queue."""
LONGEST_QUEUE = 1800.0
"""Seconds in all that queueing for turns holds up an end's deadline: 100 pairs that all fail take
15 minutes."""
REST = 10.0
"""Seconds that the other sockets stay open once a path is valid: a nomination takes no longer."""

MOST_SOCKETS = 300
"""Open at any time in all ends of a process; with very many ends, their first sockets and those of
the smallest turn."""
SURVEYS_AT_ONCE = 8
SPARE_SOCKETS = 16
"""Outside of turns: a fresh port needs one while it replaces the old one."""
TURN_LEAST_SOCKETS = 128
"""With half as many open ports the probes of a spray still hit one with 99.8 %."""

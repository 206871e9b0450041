"""Every time and bound of v2, named, in seconds, with its reason."""

from __future__ import annotations

# Between an end and control.
ANNOUNCE_RETRIES = (0.06, 0.1, 0.1, 0.2, 0.2, 0.4, 0.4, 0.4)
"""Gaps after the first announcements, which go out at 0, 0.06, 0.16, 0.26, 0.46, 0.66, 1.06, 1.46
and 1.86 s: a lost one costs little, and a control that is 50 ms away has answered the first."""
PROOF_RETRIES = 2
PROOF_PATIENCE = 1.2
PROOF_SOONEST, PROOF_LATEST = 0.02, 0.1
"""An announcement that brings back a cookie is repeated this often, after this many round trips to
control, within these bounds in seconds; then as the first ones are. Until the cookie arrives,
control makes no introductions for us."""
ANNOUNCE_RETRY = 1.0
"""Afterwards, and for any that stays unanswered."""
STREAMS_AFTER_FIRST, STREAMS_AFTER = 1.0, 3.0
"""An end tries streams when its controls are silent on UDP for so long: an attempt whose controls
never answered has sent six announcements by then, another one three."""
STREAM_RETRIES = (*10 * (0.2,), ANNOUNCE_RETRY)
"""The same over a stream, and for what else has to be answered there. TCP repeats what is lost ever
more slowly while nothing follows it, but at once when something that was sent later has arrived."""
DESERTED_AFTER = 10.0
"""A control that is silent for so long while another one answers is announced to only every
WAITING_INTERVAL. Otherwise the ends of a dead control, maybe a hundred thousand, would each
announce every second while it is dead, and all come back in the same second."""
WAITING_INTERVAL = 15.0
"""Keeps NAT mappings alive: the shortest UDP timeouts in the field are 30 s."""
STANDBY_INTERVAL = 1.0
"""While the partner is on standby: it needs to see our proof soon."""
INTRODUCED_FAST_INTERVAL = 0.1
INTRODUCED_FAST_FOR = 2.0
INTRODUCED_INTERVAL = 0.2
INTRODUCED_FOR = 5.0
"""Each announcement makes control introduce both ends again, so an introduction that is lost, or a
card with a new NAT class, costs one interval. INTRODUCED_FOR after the first: ANNOUNCE_RETRY."""
SILENCE_NOTICE = 3.0
"""An end whose controls are silent for so long reports it."""
KNOCKS, KNOCKS_AT_ONCE = 3, 2
"""A knock makes a waiting end announce itself at once, at most so many times a second, and from the
second on once a second: recordings may bring thousands, a partner needs one."""
CONFLICT_NOTICE = 60.0
"""Seconds between two reports that another machine announces the same end."""
LEAVE_COUNT = 3
LEAVE_INTERVAL = 0.02
"""Three in 40 ms survive loss, and the port is free soon."""

# Control.
EXPIRE = 60.0
"""A registration dies after four missed announcements."""
COOKIE_BUCKET = 30.0
"""A cookie lives for 30 to 60 s, several round trips of any network."""
REMEMBERED_ATTEMPTS = 8
"""Per end: so many restarts while a recording is still fresh."""

# The relay of a control.
BINDING_LIFETIME = 120.0
"""A silent binding lives so long: the keepalives of VPNs come every 10 to 25 s, and a WireGuard
tunnel that is in use at all exchanges new keys every 120 s."""
BIND_RATE = 20
"""BINDs a second that refresh a binding, and as many at once: an end needs a few, and each costs
control as much as an announcement."""
RELAY_RATE = 20e6
"""Bits a second of a pair, both ways together: a video call, or files at leisure."""
RELAY_TOTAL = 200e6
"""Bits a second of all pairs: a fifth of a small server's uplink, a tenth of a core."""
RELAY_BURST = 0.25
"""Seconds of a rate that may pass at once: a TCP connection needs about a round trip of it."""

# Between ends.
PING_FAST_INTERVAL = 0.05
PING_FAST_FOR = 1.0
PING_INTERVAL = 0.2
"""Dense while both ends begin, then sparse: the figures of docs/protocol.md."""
UNPROVED_PINGS = 3
"""To a host of an introduced partner attempt that may be a recording: a recording makes us send no
more than three datagrams. A live attempt proves itself within a round trip."""
KNOCK_PINGS = 1
"""To a host where a partner may be: it has had an answer of control already, and maybe a knock."""
PING_RATE = 400.0
"""Pings a second that one end sends to partners at most."""
PING_BURST = 64
"""All candidates of all partner attempts may be pinged at the same instant."""
BETTER_PATH_GRACE = 0.005
"""A better candidate's pong may be this much later than the valid path's round trip."""
MAX_PARTNER_ATTEMPTS = 4
"""In parallel: a live one is found among recordings, and memory stays bounded."""
MAX_CANDIDATES = 16
"""Per partner attempt: so many that control or a card names, and so many peer-reflexive ones at
the same hosts."""
MAX_UNVOUCHED = 4
"""So many more at hosts that only a datagram's source names, which anybody can forge."""
SEQUENCE_WINDOW = 1024
"""Pings recognised per path: those of two seconds at the highest rate."""
NOMINABLE_PINGS = 256
"""Pings per path whose arrival is remembered, as they may be nominated: those of a minute."""
NOMINATION_LATENESS = 1.0
"""How much longer a nomination may be under way than the ping that it names was. One held back for
longer may be older than its sender's patience, which is at least NOMINATE_FOR."""
OPENER_TTL = 4
"""Hops: through the NAT at home and a carrier's behind it, but not across the Internet."""
OPENER_LEAD = 0.1
"""Seconds from the opener to the first full ping: more than jitter between two introductions."""
PROBED_LEAD = 0.5
"""The same where the partner first has to hear by way of control where to probe."""
OUTSTANDING_PINGS = 4096
"""Whose pongs still count: both rounds of a spray, and all other pings of a minute."""
NOMINATE_FAST_INTERVAL = 0.05
NOMINATE_FAST_COUNT = 10
NOMINATE_INTERVAL = 0.1
NOMINATE_FOR = 2.5
NOMINATE_COUNT = 20
"""At least so many for at least so long: if all of them are lost, the path is dead."""
NOMINATE_LONGEST = 10.0
"""b's pings prolong a nomination up to this: the path may become valid late for b."""
EARLY_DATAGRAMS = 256
EARLY_OCTETS = 256 * 1024
"""Of the partner's program, that a keeps until it hears that b has accepted: a burst, or half a
second at 500 a second. Later ones are dropped."""
BYE_COUNT = 3
BYE_INTERVAL = 0.02
"""Like LEAVE: three in 40 ms."""
DONE_COUNT = 3
DONE_INTERVAL = 0.02
LINGER = 2.5
"""b re-answers nominations for so long after the last one, as long as a may repeat it."""
FRESH_PORT_AFTER = 2.0
"""Without a valid path to a proved partner for so long, a fresh port is tried: a NAT may have given
the port away, as Linux does after an early ping. Doubled each time."""

# A held link. A check of its path are one or two pings without an answer.
HOLD_FOR = 60.0
"""So long a dead path may work again: a router restarts, a host is carried to another network."""
KEEPALIVE_PINGS = 3
KEEPALIVE_RETRY = 1.0
"""The pings of a keepalive, and the time between them. At 5 % loss each way a path that works
counts as dead once in four hours; with two pings it would twice an hour."""
SHARED_KEEPALIVE = 1.0
"""The usual interval where another program has the port, as its datagrams are not seen: so long an
outage goes unnoticed. A pair costs 0.6 kB a second then, both ways together."""
DOUBT_ROUND_TRIPS = 3
DOUBT_GRACE = 0.05
"""After a change of the network an answer may take so many round trips, and so much longer."""
DOUBT_PINGS = 3
"""Within that time: at 20 % loss both ways one ping in three is in vain, three in a row one in 20.
A path that is doubted in vain breaks, as its datagrams may then leave from another address."""
SILENCE_PINGS = 4
SILENCE_PATIENCE_ROUND_TRIPS, SILENCE_PATIENCE = 6, 0.4
"""Where programs have fallen silent: so many pings, for so many round trips or seconds. A program
that only sends is looked after each second, and so is a path whose programs are not seen, so all
must hardly ever be lost on a path that works: at 5 % loss each way once in three hours."""
SILENCE_ROUND_TRIPS = 4
SILENCE_LEAST = 1.0
"""A program's datagram without anything coming back for so long: longer than most programs take to
answer, and soon enough for a person who waits, though the round trip was measured while a host was
busy."""
DEAD_PATH_INTERVAL = 1.0
"""Between the pings on a dead path, which may work again."""
MOVE_FOR = 15.0
"""A successor's time to find a path, once its partner is there: three rounds of the longest
strategy."""
MOVE_INTERVAL = 1.0
MOVES_AT_ONCE, MOVE_REFILL = 5, 12.0
"""Bounds on the starts of successors, whoever asks for them: one a second, ten in any minute, with
the attempts that they begin anew. A host that flaps between networks waits 12 s at most."""
RETIRED_FOR = 10.0
"""A path that was moved away from is good for receiving for so long: the partner may still send."""
UPGRADE_ROUND_TRIPS = 2
UPGRADES = (MOVE_FOR + 1.0, 120.0)
UPGRADE_INTERVAL = 600.0
"""When a relayed link looks for a direct path: so many of its round trips after it was agreed, so
many seconds after it, then at this interval. First as soon as both ends know of the link, though a
datagram was lost: the relay may have come before a spray that was under way. Then as soon as that
look is over: one spray in thousands misses for so long."""
REKEY_INTERVAL = MOVE_FOR + 1.0
"""A link whose key was removed looks for its partner under another key so often: a move that found
none is over by then."""
REKEY_WITHIN = 300.0
"""So long such a link may go on under the removed key: a control or host that restarts meanwhile is
back by then. A partner that has no other key is not wanted any more."""

# The relay.
RELAY_AFTER_HOLDING = 1.5
"""Seconds after a partner has proved to be there, without a valid path, until an end that holds its
link tries the relays: longer than plain pings and a bracket take. That link turns direct later."""
RELAY_AFTER = 10.0
"""The same where the port is handed over: such a link stays relayed, so a first spray comes
before."""
RELAY_LEAD = 0.5
"""So much earlier controls are asked for their relays, and sockets are bound there: three round
trips, of which some may be lost."""
RELAY_PATIENCE = 10.0
"""A relay's time to carry the link where nothing else does: the partner may come to that so much
later."""
RELAY_RENEWAL = 30.0
"""Between two proofs that a bound socket is still where it was: as often as NATs may forget it."""
RELAY_RETRIES = (*ANNOUNCE_RETRIES[:5], *22 * (INTRODUCED_INTERVAL,), ANNOUNCE_RETRY)
"""Between the questions to a control, and between BINDs, until they are answered: often for 5 s, as
nothing else may link the pair, and with a cookie to fetch at 20 % loss one BIND in three does
nothing. A relay that never answers gets 33 in RELAY_PATIENCE, 13 KB."""
RETURN_RETRY = 60.0
"""After those, the same of an end that is relayed by way of a stream, and would be on UDP."""
RELAY_PORT_PATIENCE = 0.4
"""An end with a shared port tries the next port of a relay that does not bind it for so long:
longer than most round trips and one lost datagram."""

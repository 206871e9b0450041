"""What `--trace` recorded as a sequence of arrows: who sent what to whom, and whether it arrived.

Records of several hosts are merged by time. Their clocks differ, so the offset of each run comes
from the datagrams that it has in common with others: as NTP does it, half of the difference of the
shortest ways there and back.
"""

from __future__ import annotations

import ipaddress
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from netpunch.output.columns import printable_cell

Record = Mapping[str, Any]
"""An event, as a line of JSON has it."""

MILESTONES = {"NOMINATE", "ACCEPT"}
"""Kinds that are never folded; nor is anything across them."""
BETWEEN_ENDS = {"PING", "PONG", "NOMINATE", "ACCEPT", "DONE", "BYE", "ping", "pong", "close"}
"""Kinds that ends send to each other; all others go to control, or come from it."""
OF_RELAY = {"BIND", "BOUND"}
"""Kinds between an end and a relay: they show its address."""
NAT = "nat_"
"""Begins the key of a NAT's lane; the end's name follows."""
RELAYED = " by relay"
LETTERS = {"ping": "x (ping)", "pong": "y (pong)", "close": "z (close)"}
"""Classic on the wire."""


class Lane(NamedTuple):
    """Somebody who sends and receives, or the NAT before an end. `about`: its address."""

    key: str
    title: str
    about: str = ""

    @property
    def is_nat(self) -> bool:
        return self.key.startswith(NAT)


class Arrow(NamedTuple):
    """`first` and `last`: seconds since the first datagram, of `times` equal ones. `lost`: both
    sides' records are there, and the receiver's has none of them."""

    first: float
    last: float
    source: str
    target: str
    label: str
    times: int = 1
    lost: bool = False

    @property
    def text(self) -> str:
        repeated = f" x {self.times}" if self.times > 1 else ""
        return f"{self.label}{repeated}{' (lost)' if self.lost else ''}"

    @property
    def when(self) -> str:
        last = f"-{_ms(self.last)}" if self.times > 1 and _ms(self.last) != _ms(self.first) else ""
        return f"{_ms(self.first)}{last} ms"


class Diagram(NamedTuple):
    """A diagram: its lanes from left to right, its arrows by time."""

    pair: str
    lanes: tuple[Lane, ...]
    arrows: tuple[Arrow, ...]


class _Seen(NamedTuple):
    """A datagram, as one side has recorded it."""

    at: float
    run: str
    party: str
    """`a`, `b` or `control NAME`."""
    sent: bool
    local: str
    remote: str
    size: int
    text: str

    @property
    def kind(self) -> str:
        return self.text.partition(" ")[0]

    @property
    def content(self) -> tuple[str, int]:
        """What a datagram has in common where it is sent and where it is received."""
        return self.text, self.size


def pairs_of(records: Iterable[Record]) -> list[str]:
    """The pairs whose datagrams are there."""
    datagrams = (each for each in records if each.get("event") == "datagram")
    return sorted({str(each["pair"]) for each in datagrams if each.get("pair")})


def sequence_of(pair: str, records: Iterable[Record]) -> Diagram:
    """The diagram of one pair. Records that are no datagrams, or lack a field, do not count."""
    seen = [each for record in records if (each := _seen(record, pair))]
    ends = [each for each in seen if each.party in ("a", "b")]
    outside = _outside_addresses(seen, ends)
    known = {each.local for each in ends} | set(outside.values())
    attempts = {word for each in ends if (word := _word(each.text, "attempt"))}
    contents = {each.content for each in ends}
    seen = [
        each
        for each in seen
        if each.party in ("a", "b")
        or each.remote in known
        or _word(each.text, "attempt") in attempts
        or each.content in contents  # from another socket of an end, at a port of its own
    ]
    matches = _matches(seen)
    offsets = _offsets(seen, matches)
    seen_at = [each.at + offsets[each.run] for each in seen]
    start = min(seen_at, default=0.0)
    arrows = _arrows(seen, matches, [at - start for at in seen_at])
    return Diagram(pair, _lanes(ends, outside, arrows), folded(arrows))


def _seen(record: Record, pair: str) -> _Seen | None:
    if record.get("event") != "datagram" or record.get("pair", pair) != pair:
        return None
    try:
        party = (
            printable_cell(f"control {record['control']}")
            if record.get("control")
            else str(record["end"])
        )
        return _Seen(
            datetime.fromisoformat(record["ts"]).timestamp(),
            str(record["run"]),
            party,
            record["direction"] == "sent",
            printable_cell(str(record["laddr"])),
            printable_cell(str(record["raddr"])),
            int(record["bytes"]),
            printable_cell(str(record["text"])),
        )
    except (KeyError, TypeError, ValueError):
        return None


def _word(text: str, name: str) -> str:
    """The value of `name=` in the text of a datagram."""
    return text.partition(f"{name}=")[2].partition(" ")[0]


def _outside_addresses(seen: Sequence[_Seen], ends: Sequence[_Seen]) -> dict[str, str]:
    """Where control, or the partner, sees each end."""
    found: dict[str, str] = {}
    attempts = {_word(each.text, "attempt"): each.party for each in ends if each.sent}
    attempts.pop("", None)
    for each in seen:
        observed = _word(each.text, "observed")
        if each.party in ("a", "b"):
            if observed and not each.sent:
                found.setdefault(each.party, observed)
        elif not each.sent and (end := attempts.get(_word(each.text, "attempt"))):
            found.setdefault(end, each.remote)
    for each in ends:
        if not each.sent and each.kind in BETWEEN_ENDS:
            found.setdefault("b" if each.party == "a" else "a", each.remote)
    return found


def _matches(seen: Sequence[_Seen]) -> dict[int, int]:
    """From sent datagrams to the received ones. Equal ones are matched from the last on: those that
    are lost are mostly the first, before a NAT lets them in."""
    sent: defaultdict[tuple[str, int], list[int]] = defaultdict(list)
    received: defaultdict[tuple[str, int], list[int]] = defaultdict(list)
    for index, each in enumerate(seen):
        (sent if each.sent else received)[each.content].append(index)
    matches: dict[int, int] = {}
    for content, going in sent.items():
        coming = list(received.get(content, ()))
        for one in reversed(going):
            for place in reversed(range(len(coming))):
                if _may_match(seen[one], seen[coming[place]]):
                    matches[one] = coming.pop(place)
                    break
    return matches


def _may_match(sent: _Seen, received: _Seen) -> bool:
    """Between two ends, or an end and a control."""
    between_ends = sent.kind in BETWEEN_ENDS
    ends = {sent.party, received.party} & {"a", "b"}
    return sent.party != received.party and len(ends) == (2 if between_ends else 1)


def _offsets(seen: Sequence[_Seen], matches: Mapping[int, int]) -> dict[str, float]:
    """Seconds to add to each run's times; runs that have nothing in common keep theirs."""
    shortest: dict[tuple[str, str], float] = {}
    for sent, received in matches.items():
        way = seen[sent].run, seen[received].run
        took = seen[received].at - seen[sent].at
        shortest[way] = min(took, shortest.get(way, took))
    offsets: dict[str, float] = {}
    for run in dict.fromkeys(each.run for each in seen):
        offsets.setdefault(run, 0.0)
        waiting = [run]
        while waiting:
            known = waiting.pop()
            for other in {run for way in shortest if known in way for run in way} - offsets.keys():
                there = shortest.get((known, other))
                back = shortest.get((other, known))
                if there is None or back is None:  # then the shortest one takes no time
                    ahead = there if there is not None else -(back or 0.0)
                else:
                    ahead = (there - back) / 2
                offsets[other] = offsets[known] - ahead
                waiting.append(other)
    return offsets


def _arrows(seen: Sequence[_Seen], matches: Mapping[int, int], at: Sequence[float]) -> list[Arrow]:
    """One a datagram: of those that both sides have recorded, when it was sent."""
    parties = _parties(seen)
    recorded = {each.party for each in seen}
    control = next((party for party in sorted(recorded) if party not in ("a", "b")), "control")
    arrived = set(matches.values())
    relays = {each.remote for each in seen if each.party in ("a", "b") and each.kind in OF_RELAY}
    arrows: list[Arrow] = []
    for index, each in enumerate(seen):
        if index in arrived:
            continue
        other = seen[matches[index]].party if index in matches else _other(each, parties, control)
        lost = each.sent and index not in matches and other in recorded
        source, target = (each.party, other) if each.sent else (other, each.party)
        label = _label(each.text)
        if each.kind in BETWEEN_ENDS and each.remote in relays:
            label += RELAYED
        arrows.append(Arrow(at[index], at[index], source, target, label, lost=lost))
    return sorted(arrows, key=lambda arrow: arrow.first)


def _parties(seen: Iterable[_Seen]) -> Mapping[str, Counter[str]]:
    """By address, and by attempt, who records datagrams with it, and how many."""
    found: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for each in seen:
        found[each.local][each.party] += 1
        if attempt := _word(each.text, "attempt"):
            found[attempt][each.party] += 1
    return found


def _other(each: _Seen, parties: Mapping[str, Counter[str]], control: str) -> str:
    """Whom it was sent to, or comes from, if that side has not recorded it."""
    if each.party in ("a", "b"):
        if each.kind in BETWEEN_ENDS:
            return "b" if each.party == "a" else "a"
        return control
    nobody: Counter[str] = Counter()
    hosts = parties.get(each.remote, nobody) + parties.get(_word(each.text, "attempt"), nobody)
    hosts.pop(each.party, None)
    return hosts.most_common(1)[0][0] if hosts else "b"


def _label(text: str) -> str:
    kind, _, rest = text.partition(" ")
    if kind == "announce":
        return f"{rest} (announce)"
    if kind == "introduce":
        return f"i|{rest.replace(' ', '|')}"
    if kind in ("WAITING", "OBSERVED") and (observed := _word(rest, "observed")):
        return f"{kind}: you are {observed}"
    if kind in ("KNOCK", "INTRODUCE") and (partner := _word(rest, "partner_observed")):
        return f"{kind}: your partner is {partner}"
    return LETTERS.get(kind, kind)


def folded(arrows: Iterable[Arrow]) -> tuple[Arrow, ...]:
    """Equal arrows are one until something else than a repetition is sent."""
    kept: list[Arrow] = []
    places: dict[tuple[str, str, str, bool], int] = {}
    for arrow in arrows:
        key = (arrow.source, arrow.target, arrow.label, arrow.lost)
        if arrow.label.removesuffix(RELAYED) in MILESTONES:
            places.clear()
        elif key in places:
            earlier = kept[places[key]]
            times = earlier.times + arrow.times
            kept[places[key]] = earlier._replace(last=arrow.last, times=times)
            continue
        places[key] = len(kept)
        kept.append(arrow)
    return tuple(kept)


def _lanes(
    ends: Sequence[_Seen], outside: Mapping[str, str], arrows: Iterable[Arrow]
) -> tuple[Lane, ...]:
    used = {party for arrow in arrows for party in (arrow.source, arrow.target)}
    local = {each.party: each.local for each in reversed(ends)}
    sides: dict[str, list[Lane]] = {"a": [], "b": []}
    for end, lanes in sides.items():
        if end in used:
            lanes.append(Lane(end, f"end {end}", local.get(end, "")))
        if _is_translated(local.get(end), outside.get(end)):
            lanes.append(Lane(NAT + end, f"NAT of {end}", outside[end]))
    controls = [Lane(name, _title(name)) for name in sorted(used - {"a", "b"})]
    return (*sides["a"], *controls, *reversed(sides["b"]))


def _title(control: str) -> str:
    """One that has no name of its own is called `control`."""
    return "control" if control == "control control" else control


def _is_translated(local: str | None, outside: str | None) -> bool:
    """Whether a NAT is known to stand before the end that has this address."""
    if not local or not outside:
        return False
    host, port = local.rpartition(":")[0].strip("[]"), local.rpartition(":")[2]
    try:
        anywhere = ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return False
    if anywhere:
        return port != outside.rpartition(":")[2]
    return host != outside.rpartition(":")[0].strip("[]")


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:,.0f}"

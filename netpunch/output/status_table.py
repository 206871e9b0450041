"""The answers of status sockets as a table for people: what is down first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from netpunch.output.age import age
from netpunch.output.columns import Column, printable_cell, table, wrapped
from netpunch.output.status import State, amount
from netpunch.output.terminal import PLAIN, Screen, Style
from netpunch.reasons import in_words

Answer = Mapping[str, Any]
"""`ProcessStatus.as_record()`, maybe of another version: fields may be missing or new."""

MOST_RELAYED = 8
"""Pairs that the table shows of a relay, those with the most bytes; `--json` has more."""
MOST_ABSENT = 8
"""Ends that the table shows of a control that are not registered; `--json` has more."""
ABSENT_PART = 6
"""They take at most this part of a screen's height, a sixth."""
MOST_NAMED = 5
"""Ends that a line names; `--json` has all."""
FEWEST_ROWS = 3
"""Ends that a screen shows, however much there is below them."""
NOTES_PART = 3
"""What is wrong takes at most this part of a screen's height, a third."""

ORDER = {
    State.FAILED: 0,
    State.DOWN: 1,
    State.STOPPED: 2,
    State.WAITING: 3,
    State.PUNCHING: 4,
    State.STARTING: 5,
    State.UP: 6,
}
"""The first ones come first."""
STYLES = {
    State.FAILED: Style.RED,
    State.DOWN: Style.RED,
    State.UP: Style.GREEN,
}
BETWEEN = Style.YELLOW
"""Of all other states."""


class Rate(NamedTuple):
    """Bytes a second that an end has carried lately."""

    sent: float
    received: float


Rates = Mapping[tuple[int, str, str], Rate]
"""By process, pair and end."""


class _End(NamedTuple):
    """An end with what it needs of its process."""

    fields: Answer
    now: object
    rate: Rate | None

    @property
    def name(self) -> str:
        return f"{self.fields.get('pair', '')} {self.fields.get('end', '')}".strip()

    @property
    def state(self) -> str:
        return str(self.fields.get("state", ""))

    @property
    def is_up(self) -> bool:
        return self.state == State.UP

    def age(self, field: str) -> str:
        return age(self.fields.get(field), self.now)

    @property
    def reason(self) -> str:
        return in_words(str(self.fields["reason"])) if self.fields.get("reason") else ""

    @property
    def error(self) -> str:
        """The last one, with its age."""
        if not (err := self.fields.get("err")):
            return ""
        return ": ".join(filter(None, (self.age("err_at"), _first_line(err))))


def status_table(
    answers: Sequence[Answer], screen: Screen = PLAIN, rates: Rates | None = None
) -> str:
    """A summary of each process, a row for each end, what is wrong with those that are not up, and
    a row for each control. `rates` replace the sums of what was carried. Where the screen has a
    height, rows of ends that do not fit are only counted."""
    top = [line for answer in answers for line in _headline(answer, screen)]
    ends = [_end(answer, end, rates) for answer in answers for end in answer.get("pairs", ())]
    ends.sort(key=lambda end: ORDER.get(end.state, 0))  # type: ignore[call-overload] # it is a str
    controls = [each for answer in answers for each in answer.get("controls", ())]
    bottom = [*_controls(answers, screen), *_relays(controls, screen)]
    middle = _ends(ends, screen, rates is not None, len(top) + len(bottom))
    return "".join(f"{line}\n" for line in (*top, *middle, *bottom)[: screen.height])


def _headline(answer: Answer, screen: Screen) -> Iterator[str]:
    node = f"node {answer['node']}, " if answer.get("node") else ""
    started = age(answer.get("started"), answer.get("ts"))
    since = f", started {started}" if started else ""
    text = f"{node}process {answer.get('pid')}{since}: {answer.get('summary')}"
    ok = Style.GREEN if answer.get("ok") is True else Style.YELLOW
    for line in wrapped(printable_cell(text), screen):
        yield screen.paint(line, ok)
    if answer.get("reload_err"):
        text = (
            f"  for {age(answer.get('reload_err_at'), answer.get('ts')).removesuffix(' ago')} it "
            "has kept the earlier configuration; `netpunch check` shows all that is wrong, then "
            "reload it"
        )
        for line in wrapped(text, screen):
            yield screen.paint(line, Style.RED)


def _end(answer: Answer, end: Answer, rates: Rates | None) -> _End:
    key = (answer.get("pid", 0), str(end.get("pair")), str(end.get("end")))
    return _End(end, answer.get("ts"), (rates or {}).get(key))


# Ends.


def _ends(ends: Sequence[_End], screen: Screen, live: bool, others: int) -> list[str]:
    """The table, and what is wrong with those that are not up, in at most the lines that `others`
    leave."""
    rates = [
        Column("SENT/S", lambda end: _per_second(end.rate and end.rate.sent), 7),
        Column("RECEIVED/S", lambda end: _per_second(end.rate and end.rate.received), 7),
    ]
    sums = [
        Column("SENT", lambda end: _sum(end, "sent"), 4),
        Column("RECEIVED", lambda end: _sum(end, "received"), 4),
    ]
    columns = [
        Column("PAIR", lambda end: str(end.fields.get("pair", ""))),
        Column("END", lambda end: str(end.fields.get("end", ""))),
        Column("STATE", _state, 6, lambda end: end.state, style=_style),
        Column("SINCE", lambda end: end.age("since")),
        Column("PATH", lambda end: str(end.fields.get("path", "")), 10),
        Column("RTT", lambda end: _ms(end.fields.get("rtt_ms")), 9),
        Column("JITTER", lambda end: _ms(end.fields.get("jitter_ms")), 2),
        Column("LOSS", _loss, 8),
        Column("MOVES", _moves, 3),
        *(rates if live else sums),
        Column("DROPPED", lambda end: _each(end.fields.get("drops", {})), 2),
        Column("FORWARD", lambda end: str(end.fields.get("forward", "")), 2),
        Column("REMOTE", lambda end: str(end.fields.get("raddr", "")), 1),
        Column("LOCAL", lambda end: str(end.fields.get("laddr", "")), 0),
        Column("LAST ERROR", lambda end: end.error if end.is_up else "", -1, cut=True),
    ]
    rows, notes = ends, list(_notes(ends, screen, with_reasons=False))
    most = None if screen.height is None else screen.height // NOTES_PART
    if screen.height is not None:
        left = screen.height - others - 3  # the empty line, the header, what does not fit
        rows = ends[: max(FEWEST_ROWS, left - len(notes[:most]))]
    lines, shortened = table(columns, rows, screen)
    if "STATE" in shortened:
        notes = list(_notes(ends, screen, with_reasons=True))
    if hidden := ends[len(rows) :]:
        down = sum(not end.is_up for end in hidden)
        which = f"{down} of them not up" if down else "all up"
        lines.append(screen.paint(f"and {len(hidden)} more, {which}", Style.DIM))
    return ["", *lines, *notes[:most]] if lines else []


def _notes(ends: Iterable[_End], screen: Screen, *, with_reasons: bool) -> Iterator[str]:
    """What is wrong with those that are not up: the same of many ends once."""
    groups: dict[tuple[str, str], list[_End]] = {}
    for end in ends:
        err = _first_line(end.fields.get("err", ""))
        reason = end.reason if with_reasons and not err.startswith(end.reason) else ""
        if not end.is_up and (reason or err):
            groups.setdefault((reason, err), []).append(end)
    if groups:
        yield ""
    for (reason, err), group in groups.items():
        last = max(group, key=lambda end: str(end.fields.get("err_at", "")))
        ago = f" ({last.age('err_at')})" if err and last.age("err_at") else ""
        text = "; ".join(filter(None, (reason, err)))
        names = _some([end.name for end in group])
        yield from wrapped(printable_cell(f"{names}{ago}: {text}"), screen)


def _state(end: _End) -> str:
    return f"{end.state}: {end.reason}" if end.reason else end.state


def _style(end: _End) -> Style:
    return STYLES.get(end.state, BETWEEN)  # type: ignore[call-overload,no-any-return] # a str


def _sum(end: _End, way: str) -> str:
    size = end.fields.get(f"{way}_bytes")
    return "" if size is None else amount(size)


def _per_second(rate: float | None) -> str:
    return "" if rate is None else amount(round(rate))


def _loss(end: _End) -> str:
    return f"{end.fields['loss']:.0%}" if "loss" in end.fields else ""


def _moves(end: _End) -> str:
    """Of a held link: how many, and the latest."""
    moves = sum(end.fields.get("moves", {}).values())
    return ", ".join(filter(None, (str(moves), end.age("path_since")))) if moves else ""


# Controls.

CONTROL = [
    Column("CONTROL", lambda control: str(control.get("control", ""))),
    Column("ENDS", lambda control: str(control.get("registered", ""))),
    Column("LISTENS ON", lambda control: ", ".join(_listens(control)), 1),
    Column("DROPPED", lambda control: _counts(control), 0),
]
RELAY = [
    Column("RELAY", lambda row: row.control),
    Column("PAIR", lambda row: row.pair),
    Column("BYTES", lambda row: row.bytes, 4),
    Column("DATAGRAMS", lambda row: row.datagrams, 2),
    Column("BOUND", lambda row: row.bound, 3),
    Column("AT", lambda row: row.at, 0),
    Column("DROPPED", lambda row: row.dropped, 1),
]


class _Absent(NamedTuple):
    """A row: an end that is not registered at a control."""

    control: str
    fields: Answer
    now: object

    @property
    def last_seen(self) -> str:
        return age(self.fields.get("last_seen"), self.now) or "not yet"

    @property
    def partner(self) -> str:
        return "registered" if self.fields.get("awaited") else "absent, too"


ABSENT = [
    Column("ABSENT AT", lambda row: row.control),
    Column("PAIR", lambda row: str(row.fields.get("pair", ""))),
    Column("END", lambda row: str(row.fields.get("end", ""))),
    Column("LAST SEEN", lambda row: row.last_seen),
    Column("PARTNER", lambda row: row.partner, 1),
]


class _Relayed(NamedTuple):
    """A row: all that a control relays, or what it relays for one pair."""

    control: str
    at: str
    bound: str
    pair: str
    datagrams: str
    bytes: str
    dropped: str


def _controls(answers: Sequence[Answer], screen: Screen) -> list[str]:
    controls = [each for answer in answers for each in answer.get("controls", ())]
    lines = table(CONTROL, controls, screen).lines
    notes = [
        line
        for control in controls
        for text in _control_notes(control)
        for line in wrapped(printable_cell(f"control {control.get('control', '')}{text}"), screen)
    ]
    absent = list(_absences(answers, screen))
    return ["", *lines, *(["", *notes] if notes else []), *absent] if lines else []


def _absences(answers: Sequence[Answer], screen: Screen) -> Iterator[str]:
    """A row for each end that is not registered: those that are awaited first."""
    rows, count = [], 0
    most = MOST_ABSENT if screen.height is None else max(1, screen.height // ABSENT_PART)
    for answer in answers:
        for control in answer.get("controls", ()):
            named = control.get("absent", ())[: min(most, MOST_ABSENT)]
            count += control.get("absent_ends", 0) - len(named)
            name = str(control.get("control", ""))
            rows += [_Absent(name, end, answer.get("ts")) for end in named]
    if rows:
        yield ""
        yield from table(ABSENT, rows, screen).lines
    if rows and count > 0:
        yield screen.paint(f"and {count} more", Style.DIM)


def _control_notes(control: Answer) -> Iterator[str]:
    for problem in control.get("problems", ()):
        yield f": {_first_line(problem)}"
    if (awaited := control.get("awaited")) and "absent" not in control:  # an older version
        yield f" awaits {_some(awaited)}: absent, though their partners are registered"
    if behind := control.get("behind"):  # they would be cut off if it were removed
        yield f": only the old key has {_some(behind)}"


def _listens(control: Answer) -> Iterator[str]:
    yield from map(str, control.get("addresses", ()))
    if tls := control.get("tls"):
        yield f"TLS {tls.get('address', '')} ({tls.get('ends', '')} ends)"


def _counts(control: Answer) -> str:
    """All datagrams that a control has dropped or could not send, by reason."""
    counts = {**control.get("drops", {}), **control.get("send_errors", {})}
    if control.get("queue_drops"):
        counts["queue_full"] = control["queue_drops"]
    return _each(counts)


def _relays(controls: Iterable[Answer], screen: Screen) -> list[str]:
    rows = [row for control in controls for row in _relay(control)]
    return ["", *table(RELAY, rows, screen).lines] if rows else []


def _relay(control: Answer) -> Iterator[_Relayed]:
    """A row for all that a control relays, and one for each pair."""
    relay = control.get("relay")
    if not relay:
        return
    name = str(control.get("control", ""))
    at = ", ".join(map(str, relay.get("addresses", ())))
    yield _Relayed(name, at, str(relay.get("bound", "")), "all", *_relayed(relay))
    for pair in relay.get("pairs", ())[:MOST_RELAYED]:
        yield _Relayed(name, "", "", str(pair.get("pair", "")), *_relayed(pair))


def _relayed(counts: Answer) -> tuple[str, str, str]:
    octets = counts.get("bytes")
    relayed = amount(octets) if isinstance(octets, int) else ""
    return str(counts.get("datagrams", "")), relayed, _each(counts.get("drops", {}))


# Words.


def _each(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{reason} {count}" for reason, count in counts.items() if count)


def _some(names: Sequence[object]) -> str:
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return ", ".join(map(str, names[:MOST_NAMED])) + more


def _first_line(text: object) -> str:
    """Without the line of the site file that an error shows below."""
    return str(text).partition("\n")[0]


def _ms(number: object) -> str:
    return f"{number:.1f} ms" if isinstance(number, int | float) else ""

"""The answers of status sockets as a table for people."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from netpunch.output.status import amount
from netpunch.reasons import in_words

Answer = Mapping[str, Any]
"""`ProcessStatus.as_record()`, maybe of another version: fields may be missing or new."""

GAP = "  "
NOTHING = "-"

ENDS = ("PAIR", "END", "STATE", "SINCE", "LOCAL", "REMOTE", "PATH", "RTT", "LAST ERROR")
HELD = (
    *("HELD LINK", "END", "PATH", "SINCE", "RTT", "JITTER", "LOSS", "MOVES"),
    *("SENT (DATAGRAMS)", "RECEIVED (DATAGRAMS)"),
)
CONTROLS = ("CONTROL", "LISTENS ON", "ENDS", "AWAITED", "DROPPED", "LAST ERROR")

RELAYS = ("RELAY", "AT", "BOUND", "PAIR", "DATAGRAMS", "BYTES", "DROPPED")

MOST_RELAYED = 8
"""Pairs that the table shows of a relay, those with the most bytes; `--json` has more."""
MOST_AWAITED = 5
"""Ends that the table names; `--json` has all."""


def status_table(answers: Sequence[Answer]) -> str:
    """A summary of each process, then a row for each end, each held link and each control."""
    lines = [line for answer in answers for line in _headline(answer)]
    ends = [end for answer in answers for end in answer.get("pairs", ())]
    lines += _table(ENDS, map(_end, ends))
    lines += _table(HELD, (_held(end) for end in ends if "loss" in end))
    controls = (each for answer in answers for each in answer.get("controls", ()))
    lines += _table(CONTROLS, map(_control, controls))
    controls = (each for answer in answers for each in answer.get("controls", ()))
    lines += _table(RELAYS, (row for control in controls for row in _relay(control)))
    return "".join(f"{line}\n" for line in lines)


def _headline(answer: Answer) -> Iterator[str]:
    node = f"node {answer['node']}, " if answer.get("node") else ""
    yield _printable(f"{node}process {answer.get('pid')}: {answer.get('summary')}")
    if answer.get("reload_err"):
        yield _printable(
            f"  since {_time(answer.get('reload_err_at'))} it keeps the earlier configuration; "
            "`netpunch check` shows all that is wrong, then reload it"
        )


def _table(header: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    cells = [header, *(tuple(_printable(cell) or NOTHING for cell in row) for row in rows)]
    if len(cells) == 1:
        return
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    yield ""
    for row in cells:
        padded = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield GAP.join(padded).rstrip()


def _end(end: Answer) -> tuple[str, ...]:
    reason = f" ({in_words(end['reason'])})" if end.get("reason") else ""
    return (
        str(end.get("pair", "")),
        str(end.get("end", "")),
        f"{end.get('state', '')}{reason}",
        _time(end.get("since")),
        str(end.get("laddr", "")),
        str(end.get("raddr", "")),
        str(end.get("path", "")),
        _ms(end.get("rtt_ms")),
        f"{_time(end.get('err_at'))} {_first_line(end['err'])}" if end.get("err") else "",
    )


def _held(end: Answer) -> tuple[str, ...]:
    return (
        str(end.get("pair", "")),
        str(end.get("end", "")),
        str(end.get("path", "")),
        _time(end.get("path_since")),
        _ms(end.get("rtt_ms")),
        _ms(end.get("jitter_ms")),
        f"{end['loss']:.0%}",
        str(sum(end.get("moves", {}).values())),
        *(_carried(end, way) for way in ("sent", "received")),
    )


def _carried(end: Answer, way: str) -> str:
    size = end.get(f"{way}_bytes")
    return "" if size is None else f"{amount(size)} ({end.get(f'{way}_datagrams')})"


def _control(control: Answer) -> tuple[str, ...]:
    return (
        str(control.get("control", "")),
        ", ".join([*map(str, control.get("addresses", ())), *_tls(control)]),
        str(control.get("registered", "")),
        _awaited(control),
        _counts(control),
        "; ".join(map(_first_line, control.get("problems", ()))),
    )


def _tls(control: Answer) -> Iterator[str]:
    """Where it takes TLS connections, and from how many ends there are some."""
    if tls := control.get("tls"):
        yield f"TLS {tls.get('address', '')} ({tls.get('ends', '')} ends)"


def _relay(control: Answer) -> Iterator[tuple[str, ...]]:
    """A row for all that a control relays, and one for each pair."""
    relay = control.get("relay")
    if not relay:
        return
    name = str(control.get("control", ""))
    yield (
        name,
        ", ".join(map(str, relay.get("addresses", ()))),
        str(relay.get("bound", "")),
        "all",
        *_relayed(relay),
    )
    for pair in relay.get("pairs", ())[:MOST_RELAYED]:
        yield name, "", "", str(pair.get("pair", "")), *_relayed(pair)


def _relayed(counts: Answer) -> tuple[str, str, str]:
    drops = counts.get("drops", {}).items()
    dropped = ", ".join(f"{reason} {count}" for reason, count in drops if count)
    octets = counts.get("bytes")
    relayed = amount(octets) if isinstance(octets, int) else ""
    return str(counts.get("datagrams", "")), relayed, dropped


def _awaited(control: Answer) -> str:
    """The ends that their partners wait for."""
    ends = list(map(str, control.get("awaited", ())))
    more = f" and {len(ends) - MOST_AWAITED} more" if len(ends) > MOST_AWAITED else ""
    return ", ".join(ends[:MOST_AWAITED]) + more


def _counts(control: Answer) -> str:
    """All datagrams that a control has dropped or could not send, by reason."""
    counts = {**control.get("drops", {}), **control.get("send_errors", {})}
    if control.get("queue_drops"):
        counts["queue_full"] = control["queue_drops"]
    return ", ".join(f"{reason} {count}" for reason, count in counts.items())


def _first_line(text: object) -> str:
    """Without the line of the site file that an error shows below."""
    return str(text).partition("\n")[0]


def _ms(number: object) -> str:
    return f"{number:.1f} ms" if isinstance(number, int | float) else ""


def _time(text: object) -> str:
    """RFC 3339 without the fraction of the second."""
    return str(text).partition(".")[0] + "Z" if text else ""


def _printable(text: str) -> str:
    """Characters that could steer a terminal become `?`: errors quote what others have sent."""
    return "".join(char if char.isprintable() else "?" for char in text)

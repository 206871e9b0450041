"""How long ago something was, for people."""

from __future__ import annotations

from datetime import datetime

UNITS = (("d", 86400), ("h", 3600), ("m", 60))


def age(then: object, now: object) -> str:
    """`45 s ago`, `3 m ago`, `2 h ago`, `5 d ago`, from two times as JSON has them (RFC 3339).
    Empty if one of them is no time."""
    try:
        seconds = (_time(now) - _time(then)).total_seconds()
    except (TypeError, ValueError):
        return ""
    for unit, size in UNITS:
        if seconds >= size:
            return f"{int(seconds // size)} {unit} ago"
    return f"{max(0, int(seconds))} s ago"


def _time(text: object) -> datetime:
    if not isinstance(text, str):
        raise TypeError(text)
    return datetime.fromisoformat(text)

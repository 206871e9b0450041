"""The repr of values that hold secrets."""

from __future__ import annotations

from typing import Protocol


class NamedFields(Protocol):
    """Any NamedTuple."""

    @property
    def _fields(self) -> tuple[str, ...]: ...


def redacted(value: NamedFields, *hidden: str) -> str:
    """The usual repr of a NamedTuple, without the fields named in `hidden`."""
    names = (name for name in value._fields if name not in hidden)
    shown = ", ".join(f"{name}={getattr(value, name)!r}" for name in names)
    return f"{type(value).__name__}({shown})"

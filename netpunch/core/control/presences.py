"""Which ends a control knows to be there, for programs that ask."""

from __future__ import annotations

from typing import NamedTuple

from netpunch.address import Address


class RegisteredEnd(NamedTuple):
    """An end as a control sees it: at `address`, since `since` (seconds of time.monotonic())."""

    address: Address
    since: float

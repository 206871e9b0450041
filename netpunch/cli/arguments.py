"""Values on the command line: the texts of site files, with the complaints that argparse shows."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TypeVar

from netpunch.config import values

T = TypeVar("T")


def argument_type(parse: Callable[[str], T], example: str) -> Callable[[str], T]:
    """`parse`, which raises ValueError with what follows a wrong text, for `add_argument`."""

    def checked(text: str) -> T:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"{text!r} {error}: give {example}") from None

    return checked


def _pair_name(text: str) -> str:
    if not values.PAIR_NAME.fullmatch(text):
        raise ValueError("is no name of a pair")
    return text


pair_name = argument_type(_pair_name, "up to 32 of a-z, 0-9 and -, such as home-office")
local_address = argument_type(
    values.host_port, "192.0.2.1:5000, :5000 for all addresses, :0 for any port"
)
control_address = argument_type(
    values.reachable_host_port, "control's public address, such as 192.0.2.1:7777"
)
duration = argument_type(values.duration, "a number and its unit, such as 90s or 5m")

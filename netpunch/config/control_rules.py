"""The rules for a control's relay and TLS, for site files and for callers alike."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from netpunch.config.values import HIGHEST_PORT


class RelayAndTls(Protocol):
    """The settings of a control that depend on each other."""

    @property
    def relay(self) -> Sequence[tuple[str, int]]: ...
    @property
    def relay_ports(self) -> int: ...
    @property
    def relay_rate(self) -> float: ...
    @property
    def relay_total(self) -> float: ...
    @property
    def tls(self) -> object: ...
    @property
    def tls_certificate(self) -> Path | None: ...
    @property
    def tls_key(self) -> Path | None: ...


def control_flaws(
    control: RelayAndTls, written: Container[str], assign: str = ": "
) -> Iterator[tuple[str, str]]:
    """What does not fit together, by the key to blame. `written`: the keys that were not left to
    their defaults; `assign`: what stands between a key and its value."""
    add_relay = f'add `relay{assign}":10003"`'
    if control.tls is None:
        for key in ("tls_certificate", "tls_key"):
            if getattr(control, key) is not None:
                add_tls = f'add `tls{assign}":443"`'
                yield key, f"without `tls` it has no use: {add_tls}, or remove this"
    elif control.tls_key is not None and control.tls_certificate is None:
        message = "`tls_certificate` is missing: a key needs the certificate that it belongs to"
        yield "tls_key", message
    if not control.relay:
        for key in ("relay_ports", "relay_rate", "relay_total"):
            if key in written:
                yield key, f"without `relay` it has no use: {add_relay}, or remove this"
        if control.tls is not None:
            yield (
                "tls",
                "without `relay` nothing could be linked over it, as ends reach each other by UDP "
                f"alone: {add_relay}",
            )
        return
    last = control.relay[0][1] + control.relay_ports - 1
    if last > HIGHEST_PORT:
        yield "relay_ports", f"the last one would be {last}, above {HIGHEST_PORT}"
    if control.relay_rate > control.relay_total:
        key = "relay_total" if "relay_total" in written else "relay_rate"
        yield key, "`relay_rate` is above `relay_total`, so no pair could reach it"

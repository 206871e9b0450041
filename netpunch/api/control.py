"""`serve_control`: a control node."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from netpunch import arguments
from netpunch.address import Address, canonical_host
from netpunch.api.end_arguments import classic_secret, classic_slot
from netpunch.core.classic.control import ClassicControl
from netpunch.core.control.control import ControlV2
from netpunch.core.control.node import ControlNode
from netpunch.errors import UsageError
from netpunch.keys import read_key, value_for_control
from netpunch.net.driver import Observer
from netpunch.net.listener import Listener


@arguments.checked
async def serve_control(
    *,
    listen: str | Sequence[str] = ":10001",
    pairs: Mapping[str, bytes | str | Path] | None = None,
    classic: Mapping[str, bytes | Path] | None = None,
    expire: float = 60.0,
    own_hosts: Mapping[int, str] | None = None,
    observer: Observer | None = None,
    on_ready: Callable[[list[Address]], None] | None = None,
) -> None:
    """Run a control node until the call is cancelled.

    `listen`: `IP:port` or `:port`, one or several.
    `pairs`: control's key for each pair's name, as 32 bytes, as text (`npc1:...`; from a pair's
    own `npk1:...` control's is derived) or as the Path of its file.
    `classic`: the secret for each set of slot letters (`ab`, or all 26), as bytes or as a Path.
    `expire`: seconds after which a silent end is forgotten.
    `own_hosts`: this node's public addresses by family (4, 6), for the partners of ends that reach
    it over loopback.
    `observer`: is called with every `Datagram` and every event.
    `on_ready`: is called once with the bound addresses.

    Raises UsageError for an argument, before anything is opened; MissingFileError,
    PermissionsError and ConfigurationError for a key's file; PortInUseError,
    NetworkNotReadyError, PermissionsError and ConfigurationError for `listen`; and
    ResourcesError."""
    keys = _control_keys(pairs)
    letters = _classic_secrets(classic)
    hosts = _own_hosts(own_hosts)
    expires = arguments.seconds("expire", expire)
    addresses = arguments.local_addresses("listen", listen)
    arguments.callback("observer", observer)
    arguments.callback("on_ready", on_ready)
    machine = ControlNode(
        ControlV2(keys, own_hosts=hosts, expire=expires, random=os.urandom),
        ClassicControl(letters),
    )
    listener = Listener(machine, addresses, observer=observer)
    listener.open()
    try:
        if on_ready is not None:
            on_ready(listener.addresses)
        await asyncio.get_running_loop().create_future()  # the loop serves the sockets
    finally:
        listener.close()


def _own_hosts(value: object) -> dict[int, str]:
    """IP addresses by family."""
    wanted = "a mapping of the families 4 and 6 to IP addresses, such as {4: '192.0.2.1'}"
    hosts: dict[int, str] = {}
    for family, host in arguments.mapping("own_hosts", value, wanted).items():
        try:
            found = canonical_host(host) if isinstance(host, str) else ""
        except ValueError:
            found = ""
        if family not in (4, 6) or not found or (":" in found) != (family == 6):
            raise arguments.wrong("own_hosts", host, wanted)
        hosts[6 if ":" in found else 4] = found
    return hosts


def _control_keys(pairs: object) -> dict[str, bytes]:
    wanted = "a mapping of pair names to keys, such as {'home-office': 'npc1:...'}"
    keys = {}
    for pair, key in arguments.mapping("pairs", pairs, wanted).items():
        name = arguments.pair_name("pairs", pair)
        keys[name] = value_for_control(read_key(f"pairs[{name!r}]", key, "control"), name)
    return keys


def _classic_secrets(classic: object) -> dict[str, bytes]:
    wanted = "a mapping of slot letters to their secret, such as {'ab': b'...'}"
    secrets: dict[str, bytes] = {}
    for slots, value in arguments.mapping("classic", classic, wanted).items():
        if not isinstance(slots, str) or not slots:
            raise arguments.wrong("classic", slots, wanted)
        secret = classic_secret(f"classic[{slots!r}]", value)
        for letter in slots:
            if classic_slot("classic", letter) in secrets:
                raise UsageError(f"classic: slot {letter!r} is given twice: remove one")
            secrets[letter] = secret
    return secrets

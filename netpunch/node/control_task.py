"""The life of one control in a process."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence

from netpunch.address import Address
from netpunch.config.model import ControlConfig
from netpunch.core.classic.control import ClassicControl
from netpunch.core.control.absences import Absent
from netpunch.core.control.control import ControlV2
from netpunch.core.control.node import ControlNode
from netpunch.core.control.relay import Relay
from netpunch.core.events import Event, Registered
from netpunch.errors import NetpunchError, NetworkNotReadyError
from netpunch.net.driver import Datagram, clock
from netpunch.net.listener import Listener, TlsAt
from netpunch.node.control_network import ControlNetwork
from netpunch.node.control_reports import ControlReports
from netpunch.node.plan import ControlPlan
from netpunch.node.services import Services
from netpunch.output.events import ControlFailed, ControlReady
from netpunch.output.status import (
    MOST_ABSENT,
    MOST_RELAYED,
    AbsentEnd,
    ControlStatus,
    RelayedPair,
    RelayStatus,
    TlsStatus,
)

BIND_RETRY = 2.0
"""Seconds between attempts to bind an address that is late at boot: ends ask again within 15."""


CHANGEABLE = ("expire", "public", "relay_rate", "relay_total")
"""Keys that a reload changes without closing a socket."""


class ControlTask:
    """One control, bound from `start` to `stop`."""

    def __init__(self, plan: ControlPlan, services: Services) -> None:
        self.plan = plan
        self._services = services
        self._console = services.console.named(f"control {plan.control.name}")
        self._reports = ControlReports(plan.control.name, services)
        self._machine = ControlNode(
            ControlV2(
                plan.keys.unpacked(),
                other_keys=plan.other_keys.unpacked(),
                expire=plan.control.expire,
                relay=Relay(plan.control.relay_rate, plan.control.relay_total),
                random=os.urandom,
            ),
            ClassicControl(plan.secrets, names=plan.names),
        )
        self._listener: Listener | None = None
        self._binding: asyncio.Task[None] | None = None
        self._network = ControlNetwork(plan.control.name, self._machine.v2, services)

    async def start(self) -> None:
        """Binds; while an address of this host is not there yet, goes on trying to.

        Raises PortInUseError, PermissionsError, ConfigurationError, and MissingFileError for a
        certificate."""
        try:
            self._listen()
        except NetworkNotReadyError as error:
            self._binding = asyncio.create_task(self._listen_later(error))
        self._services.status.add_control(self.plan.control.name, self.status)

    async def _listen_later(self, error: NetpunchError) -> None:
        reported = ""
        while self._listener is None:
            if str(error) != reported:
                reported = str(error)
                self._report_deaf(error)
            await asyncio.sleep(BIND_RETRY)
            try:
                self._listen()
            except NetpunchError as again:
                error = again

    def _listen(self) -> None:
        control = self.plan.control
        listener = Listener(
            self._machine,
            [(each.host, each.port) for each in control.listen],
            observe=[(each.host, each.port) for each in control.observe],
            relay=[(each.host, each.port) for each in control.relay_sockets],
            tls=_tls(control),
            observer=self._observe,
            trace=self._services.trace,
        )
        listener.open()
        self._listener = listener
        for error in listener.refused:
            self._console.warn(f"no NAT classes: {error}")
        self._network.learn(control)
        addresses = [str(address) for address in dict.fromkeys(listener.addresses)]
        tls = None if listener.tls is None else listener.tls.local
        relay = _ranges(listener.relay_addresses) or None
        self._services.journal.emit(ControlReady(control.name, addresses, tls, relay))
        over_tls = f", TLS on {tls}" if tls else ""
        relaying = f", relaying on {', '.join(relay)}" if relay else ""
        self._console.say(f"listening on {', '.join(addresses)}{over_tls}{relaying}")

    def _report_deaf(self, error: NetpunchError) -> None:
        self._services.journal.emit(
            ControlFailed(None, error.reason, str(error), self.plan.control.name)
        )
        self._console.error(f"{error}; trying again every {BIND_RETRY:.0f} s")

    def update(self, plan: ControlPlan) -> bool:
        """Takes over the pairs of a new plan, and what CHANGEABLE names; False if more than that
        differs."""
        control, before = plan.control, self.plan.control
        if control != before._replace(**{key: getattr(control, key) for key in CHANGEABLE}):
            return False
        self.plan = plan
        if control.public != before.public:
            self._network.learn(control)
        removed = self._machine.v2.replace_pairs(plan.keys.unpacked(), plan.other_keys.unpacked())
        self._machine.v2.expire_after(control.expire)
        self._machine.v2.relay.limit(control.relay_rate, control.relay_total)
        self._machine.classic.replace_secrets(plan.secrets, names=plan.names)
        if self._listener is not None:
            self._listener.pairs_removed(removed)
        self._renew_certificate(plan.control)
        return True

    def _renew_certificate(self, control: ControlConfig) -> None:
        """Reads it again: it may have been renewed."""
        if self._listener is None or self._listener.tls is None or control.tls_certificate is None:
            return
        from netpunch.net.tls_certificate import load

        try:
            load(self._listener.tls.context, control.tls_certificate, control.tls_key)
        except NetpunchError as error:
            self._console.warn(f"the former certificate stays in use: {error}")

    def status(self) -> ControlStatus:
        """What it listens on (nothing, while it cannot yet) and has counted."""
        listener = self._listener
        count, absent = self._machine.absences(MOST_ABSENT)
        return ControlStatus(
            self.plan.control.name,
            () if listener is None else tuple(map(str, dict.fromkeys(listener.addresses))),
            self._machine.registered,
            {str(reason): count for reason, count in self._machine.drops.items()},
            {} if listener is None else dict(listener.send_errors),
            0 if listener is None else listener.queue_drops,
            tuple(f"{each.pair} {each.end}" for each in absent if each.is_awaited),
            relay=self._relay_status(listener.relay_addresses) if listener else None,
            tls=_tls_status(listener) if listener else None,
            behind=tuple(f"{pair} {end}" for pair, end in self._machine.v2.behind()),
            absent_ends=count,
            absent=tuple(map(_absent_end, absent[:MOST_ABSENT])),
        )

    def _relay_status(self, addresses: Sequence[Address]) -> RelayStatus | None:
        if not addresses:
            return None
        relay = self._machine.v2.relay
        total = relay.total
        return RelayStatus(
            tuple(_ranges(addresses)),
            relay.bound,
            total.datagrams,
            total.octets,
            total.drops | {"stranger": relay.strangers},
            tuple(
                RelayedPair(pair.name, pair.datagrams, pair.octets, pair.drops)
                for pair in relay.busiest(MOST_RELAYED)
            ),
        )

    async def stop(self) -> None:
        """Closes its sockets."""
        if self._binding is not None:
            self._binding.cancel()
            await asyncio.wait([self._binding])
        await self._network.stop()
        self._services.status.remove_control(self.plan.control.name)
        if self._listener is not None:
            self._listener.close()
        self._reports.close()

    def _observe(self, seen: Datagram | Event) -> None:
        self._reports.observe(seen)
        if isinstance(seen, Registered):
            self._network.registered(seen)


def _absent_end(absent: Absent) -> AbsentEnd:
    pair, end, heard, awaited = absent
    seen = None if heard is None else time.time() - (clock() - heard)
    return AbsentEnd(pair, end, seen, awaited)


def _tls(control: ControlConfig) -> TlsAt | None:
    if control.tls is None:
        return None
    from netpunch.net.tls_certificate import server_context  # few controls need it

    context = server_context(control.tls_certificate, control.tls_key, name=control.address.host)
    return TlsAt(*control.tls, context)


def _tls_status(listener: Listener) -> TlsStatus | None:
    tls = listener.tls
    if tls is None:
        return None
    return TlsStatus(str(tls.local), tls.ends, tls.strangers, tls.refused)


def _ranges(addresses: Sequence[Address]) -> list[str]:
    """Those of the first port, each with the last one, if there are more."""
    ports = [address.port for address in addresses]
    to_last = f"-{max(ports)}" if len(set(ports)) > 1 else ""
    return [f"{address}{to_last}" for address in addresses if address.port == min(ports)]

"""A control's own network: where the world sees it, and which ends come from inside it."""

from __future__ import annotations

from netpunch.address import is_loopback, is_private
from netpunch.config.model import ControlConfig
from netpunch.core.control.control import ControlV2
from netpunch.core.events import Registered
from netpunch.net.own_hosts import OwnHosts
from netpunch.node.services import Services
from netpunch.output.events import ControlEndInside

MOST_REPORTED = 16
"""Hosts inside that are reported: a log is no place for a whole network."""


class ControlNetwork:
    """Informs the machine where the world sees its network, and people of the ends inside it."""

    def __init__(self, name: str, machine: ControlV2, services: Services) -> None:
        self._name = name
        self._machine = machine
        self._services = services
        self._console = services.console.named(f"control {name}")
        self._own_hosts = OwnHosts(machine, self._has_looked_up)
        self._looked_up = False
        self._serves_outside = False
        self._unreported: dict[str, Registered] = {}
        self._reported: set[str] = set()

    def learn(self, control: ControlConfig) -> None:
        """From now on looks up where the world sees this control."""
        self._own_hosts.learn(control.public or (control.address.host,))

    async def stop(self) -> None:
        """Looks nothing up any more."""
        await self._own_hosts.stop()

    def registered(self, event: Registered) -> None:
        """An end is there. A control that serves only private networks has nothing to report."""
        host = event.address.host
        room = MOST_REPORTED - len(self._reported) - len(self._unreported)
        if not is_private(host):
            self._serves_outside = True
        elif room and host not in self._reported and not is_loopback(host):
            self._unreported[host] = event
        if self._unreported:
            self._report()

    def _has_looked_up(self) -> None:
        self._looked_up = True
        self._report()

    def _report(self) -> None:
        if not self._looked_up or not (self._serves_outside or self._machine.own_hosts):
            return
        from netpunch.net.routes import default_gateways  # seldom needed

        gateways = {gateway.host for gateway in default_gateways()} if self._unreported else set()
        for host, event in self._unreported.items():
            self._reported.add(host)
            self._report_end(event, from_gateway=host in gateways)
        self._unreported.clear()

    def _report_end(self, event: Registered, *, from_gateway: bool) -> None:
        pair, end, address = event
        public = self._machine.own_hosts.get(address.family)
        self._services.journal.emit(
            ControlEndInside(pair, end, address, public, from_gateway, self._name)
        )
        given = f"partners elsewhere are given {public}, with the same port"
        if public is None:
            given = (
                "partners elsewhere cannot send there: set `public` to the address at which the "
                "world sees this network"
            )
        if from_gateway:
            self._console.warn(
                f"{pair} {end} comes from {address}, this host's own gateway: something there "
                "hides the sender. If ends elsewhere come from there, too, they cannot be linked: "
                "give a container the host's network, or forward the port without translating the "
                f"source. If only ends in this network do, {given}"
            )
            return
        report = self._console.say if public else self._console.warn
        report(f"{pair} {end} at {address} is in this control's network; {given}")

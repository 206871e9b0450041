"""Ports of `forward: {listen: auto}`: counted up in the order of the file, so that they are known
before anything runs, and the same after a restart.

Every end of the node counts, whether it runs or not: several processes of a node, each with a part
of its pairs, do not meet at a port."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from netpunch.address import is_loopback
from netpunch.config.model import EndConfig, Site
from netpunch.config.values import Auto, Chosen
from netpunch.errors import ConfigurationError

AUTO_PORTS = range(23001, 26001)
"""Below those that Linux gives to programs which ask for none (from 32768), and few are registered.
More than the pairs that a site file holds."""
SPARE_PORTS = range(26001, 26101)
"""For ends whose port somebody else has."""

EndKey = tuple[str, str]
"""A pair's name, and `a` or `b`."""

NONE_YET: Mapping[EndKey, Chosen] = {}


def choose_ports(
    site: Site, node: str | None, earlier: Mapping[EndKey, Chosen] = NONE_YET
) -> dict[EndKey, Chosen]:
    """Where the ends of a node listen that leave it to netpunch; those with an `earlier` port keep
    it. Raises ConfigurationError if there are too many."""
    ends = [end for pair in site.pairs for end in pair.ends if end.node == node]
    own = {(end.pair, end.end): end.forward.listen for end in ends if end.forward}
    automatic = {key: listen for key, listen in own.items() if isinstance(listen, Auto)}
    if not automatic:
        return {}
    reserved = {*_reserved(site, node, ends)}
    kept = {key: earlier[key] for key in automatic if key in earlier}
    kept = {key: listen for key, listen in kept.items() if listen.port not in reserved}
    reserved |= {listen.port for listen in kept.values()}
    free = (port for port in AUTO_PORTS if port not in reserved)
    chosen: dict[EndKey, Chosen] = {}
    for key, listen in automatic.items():
        port = kept[key].port if key in kept else next(free, None)
        if port is None:
            raise ConfigurationError(
                f"{site.path}: {len(automatic):,} ends of one node have `listen: auto`, but there "
                f"are only {len(AUTO_PORTS):,} ports: give some of them a port"
            )
        chosen[key] = Chosen(listen.host, port)
    return chosen


def with_ports(end: EndConfig, ports: Mapping[EndKey, Chosen]) -> EndConfig:
    """The end, listening where that was chosen for it."""
    listen = ports.get((end.pair, end.end))
    if end.forward is None or listen is None:
        return end
    return end._replace(forward=end.forward._replace(listen=listen))


def _reserved(site: Site, node: str | None, ends: list[EndConfig]) -> Iterator[int]:
    """The ports that the file gives to something else on the node."""
    for control in site.controls:
        if control.node == node:
            for address in (*control.listen, *control.observe, *control.relay_sockets):
                yield address.port
    for end in ends:
        yield end.settings.local[1]
        if end.forward is not None:
            yield end.forward.listen.port
            to = end.forward.to
            if to is not None and (to.host == "localhost" or is_loopback(to.host)):
                yield to.port

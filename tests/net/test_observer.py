from __future__ import annotations

from netpunch.address import Address
from netpunch.core.events import Finished
from netpunch.net.observer import Datagram, Observer


def test_an_observer_tells_datagrams_from_events() -> None:
    seen: list[str] = []

    def observe(observation: object) -> None:
        seen.append("datagram" if isinstance(observation, Datagram) else "event")

    observer: Observer = observe
    local, remote = Address("192.0.2.1", 1), Address("192.0.2.2", 2)
    observer(Datagram(sent=True, local=local, remote=remote, data=b"x", text="ping"))
    observer(Finished())
    assert seen == ["datagram", "event"]

from __future__ import annotations

import asyncio
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from netpunch.address import Address, parse_address
from netpunch.core.events import Registered
from netpunch.errors import MissingFileError, NetworkNotReadyError, PortInUseError
from netpunch.net.punch import Punch
from netpunch.net.sockets import bind
from netpunch.net.tls_certificate import self_signed
from netpunch.node import control_task
from netpunch.node.control_task import ControlTask
from netpunch.node.options import RunOptions
from netpunch.node.packed_keys import PackedKeys
from netpunch.node.plan import ControlPlan, Planner
from netpunch.output.status import AbsentEnd, RelayStatus
from netpunch.wire.keys import control_key
from tests.net.machines import client, local_address, port_is_free
from tests.net.nodes import spec
from tests.net.tls_peer import tls_peer
from tests.node.children import Run, on_both_loops
from tests.node.recorder import Recorder, site_with

pytestmark = on_both_loops

FREE_PORT_TRIES = 16
"""Of two ports in a row, until both are free."""
SOON = 0.1
"""Seconds; less than an end waits between its announcements."""


def plan(folder: Path, pairs: tuple[str, ...] = ("p",), **control: Any) -> ControlPlan:
    described = {name: {"secret": "generate", "a": {}, "b": {}} for name in pairs}
    site, part = site_with(folder, described, control=at(**control))
    return Planner(RunOptions()).plan(site, part).controls["vps"]


def at(**control: Any) -> dict[str, Any]:
    port = free_port()
    address = f"127.0.0.1:{port}"
    default = {"name": "vps", "address": address, "listen": address, "observe": "off"}
    return default | control


def free_port() -> int:
    with client() as one:
        return one.address.port


def free_address() -> str:
    return f"127.0.0.1:{free_port()}"


def test_a_control_listens_and_reports_where(run: Run[Any], tmp_path: Path) -> None:
    planned = plan(tmp_path)
    [listen] = planned.control.listen

    async def main() -> None:
        recorder = Recorder()
        control = ControlTask(planned, recorder.services)
        await control.start()
        assert recorder.of("control.ready") == [{"control": "vps", "addresses": [str(listen)]}]
        assert recorder.said == [f"control vps: listening on {listen}"]
        assert not port_is_free(listen.port)
        await control.stop()
        assert port_is_free(listen.port)

    run(main())


def test_a_control_whose_port_is_in_use(run: Run[Any], tmp_path: Path) -> None:
    async def main() -> None:
        recorder = Recorder()
        with client() as taken:
            planned = plan(tmp_path, listen=str(taken.address))
            control = ControlTask(planned, recorder.services)
            with pytest.raises(PortInUseError):
                await control.start()
            await control.stop()
        assert (recorder.records, recorder.said) == ([], [])

    run(main())


def test_a_control_whose_address_is_late_binds_it_later(
    run: Run[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until then that is reported once, with the reason."""
    monkeypatch.setattr(control_task, "BIND_RETRY", 0.01)
    planned = plan(tmp_path)
    [listen] = planned.control.listen
    attempts = 0

    def late_bind(*arguments: Any) -> list[socket.socket]:
        nonlocal attempts
        attempts += 1
        if attempts <= 3:
            raise NetworkNotReadyError(f"{listen.host} is no address of this host now")
        return bind(*arguments)

    async def main() -> None:
        recorder = Recorder()
        monkeypatch.setattr("netpunch.net.listener.bind", late_bind)
        control = ControlTask(planned, recorder.services)
        await control.start()
        assert control.status().addresses == ()
        assert control._binding is not None
        await control._binding
        [failed] = recorder.of("control.failed")
        assert failed["reason"] == "network_not_ready"
        assert control.status().addresses == (str(listen),)
        await control.stop()
        assert port_is_free(listen.port)

    run(main())


def test_a_control_is_stopped_while_its_address_is_late(run: Run[Any], tmp_path: Path) -> None:
    async def main() -> None:
        recorder = Recorder()
        control = ControlTask(plan(tmp_path, listen="203.0.113.1:10001"), recorder.services)
        await control.start()
        await asyncio.sleep(0)
        await control.stop()
        assert len(recorder.of("control.failed")) == 1
        assert asyncio.all_tasks() == {asyncio.current_task()}

    run(main())


def test_a_control_without_its_second_port_warns_of_no_nat_classes(
    run: Run[Any], tmp_path: Path
) -> None:
    async def main() -> None:
        recorder = Recorder()
        with client() as taken:
            control = ControlTask(plan(tmp_path, observe=str(taken.address)), recorder.services)
            await control.start()
            assert recorder.said[0].startswith(
                f"warning: control vps: no NAT classes: {taken.address}"
            )
            await control.stop()

    run(main())


def test_a_reload_gives_a_control_other_pairs_on_the_same_socket(
    run: Run[Any], tmp_path: Path
) -> None:
    """What that changes is sent at once."""

    async def main() -> None:
        recorder = Recorder()
        control = ControlTask(plan(tmp_path), recorder.services)
        await control.start()
        pumped: list[str] = []
        assert control._listener is not None
        control._listener.pump = lambda: pumped.append("pumped")  # type: ignore[method-assign]
        changed = control.plan._replace(
            keys=PackedKeys({"other": bytes(32)}),
            secrets={"a": b"x", "b": b"x"},
            names={"a": "p"},
        )
        assert control.update(changed)
        assert control.plan is changed
        assert pumped == ["pumped"]
        assert len(recorder.of("control.ready")) == 1
        await control.stop()

    run(main())


def test_a_reload_gives_a_control_another_expiry_on_the_same_socket(
    run: Run[Any], tmp_path: Path
) -> None:
    """It also applies to ends that are registered already."""
    secret = bytes(32)
    keys = PackedKeys({"p": control_key(secret, "p")})
    planned = plan(tmp_path, expire="1h")._replace(keys=keys)
    [listen] = planned.control.listen

    async def main() -> None:
        recorder = Recorder()
        control = ControlTask(planned, recorder.services)
        await control.start()
        attempt = Punch(spec("a", Address(listen.host, listen.port))._replace(secret=secret))
        await attempt.open()
        await recorder.wait_for("control.registered")
        for seconds in (7200.0, SOON):
            assert not recorder.of("control.expired")
            changed = planned._replace(control=planned.control._replace(expire=seconds))
            assert control.update(changed)
            assert control.plan is changed
            assert control.status().registered == 1
            assert control.status().absent == (AbsentEnd("p", "b", awaited=True),)
        assert (await recorder.wait_for("control.expired"))["reason"] == "silent"
        a, b = control.status().absent
        assert a.last_seen is not None
        assert time.time() - 30 < a.last_seen < time.time()
        assert b == AbsentEnd("p", "b")
        assert control.status().absent_ends == 2
        assert len(recorder.of("control.ready")) == 1
        await attempt.close()
        await control.stop()

    run(main())


def test_a_control_with_another_address_cannot_be_updated(run: Run[Any], tmp_path: Path) -> None:
    async def main() -> None:
        control = ControlTask(plan(tmp_path), Recorder().services)
        before = control.plan
        assert not control.update(plan(tmp_path))
        assert control.plan is before
        await control.stop()

    run(main())


def test_a_control_with_another_public_address_is_updated(run: Run[Any], tmp_path: Path) -> None:
    planned = plan(tmp_path, public="192.0.2.1")

    async def main() -> None:
        recorder = Recorder()
        control = ControlTask(planned, recorder.services)
        await control.start()
        moved = planned.control._replace(public=("192.0.2.2",))
        assert control.update(planned._replace(control=moved))
        await asyncio.sleep(0)
        assert control._machine.v2.own_hosts == {4: "192.0.2.2"}
        assert len(recorder.of("control.ready")) == 1
        await control.stop()

    run(main())


def test_a_control_reports_rejections_and_traces_datagrams(run: Run[Any], tmp_path: Path) -> None:
    planned = plan(tmp_path)

    async def main() -> None:
        recorder = Recorder(trace=True)
        control = ControlTask(planned, recorder.services)
        await control.start()
        [listen] = planned.control.listen
        attempt = Punch(spec("a", Address(listen.host, listen.port)))
        await attempt.open()  # with another key
        rejected = await recorder.wait_for("auth.rejected")
        assert (rejected["control"], rejected["pair"]) == ("vps", "p")
        assert recorder.of("datagram")[0]["control"] == "vps"
        assert not recorder.of(Registered.__name__)
        await attempt.close()
        await control.stop()

    run(main())


# The relay.


def test_a_control_relays_and_reports_where_and_what(run: Run[Any], tmp_path: Path) -> None:
    relay = free_address()
    planned = plan(tmp_path, relay=relay, relay_rate="1Mbit/s")

    async def main() -> None:
        recorder = Recorder()
        control = ControlTask(planned, recorder.services)
        await control.start()
        [ready] = recorder.of("control.ready")
        assert ready["relay"] == [relay]
        assert recorder.said[0].endswith(f", relaying on {relay}")
        no_drops = {"over_rate": 0, "no_partner": 0, "stranger": 0}
        assert control.status().relay == RelayStatus((relay,), drops=no_drops)
        await control.stop()

    run(main())


def test_a_control_relays_at_several_ports(run: Run[Any], tmp_path: Path) -> None:
    async def main() -> None:
        for _ in range(FREE_PORT_TRIES):
            first = Address("127.0.0.1", free_port())
            planned = plan(tmp_path, relay=str(first), relay_ports="2")
            recorder = Recorder()
            control = ControlTask(planned, recorder.services)
            try:
                await control.start()
            except PortInUseError:  # the one after it
                continue
            break
        [ready] = recorder.of("control.ready")
        assert ready["relay"] == [f"{first}-{first.port + 1}"]
        machine = control._machine.v2.relay
        assert (machine.port, machine.more_ports, len(machine.sources)) == (first.port, 1, 2)
        await control.stop()

    run(main())


def test_a_port_of_the_relay_in_use_stops_its_control(run: Run[Any], tmp_path: Path) -> None:
    async def main() -> None:
        with client() as taken:
            planned = plan(tmp_path, relay=str(taken.address))
            control = ControlTask(planned, Recorder().services)
            with pytest.raises(PortInUseError, match=str(taken.address.port)):
                await control.start()
            await control.stop()

    run(main())


def test_a_reload_changes_the_rates_of_a_relay_and_nothing_else(
    run: Run[Any], tmp_path: Path
) -> None:
    before = plan(tmp_path, relay=free_address())
    control_config = before.control._replace(relay_rate=1e6, relay_total=2e6)

    async def main() -> None:
        control = ControlTask(before, Recorder().services)
        await control.start()
        relay = control._machine.v2.relay
        limits: list[tuple[float, float]] = []
        relay.limit = lambda rate, total: limits.append((rate, total))  # type: ignore[method-assign]
        assert control.update(before._replace(control=control_config))
        assert limits == [(1e6, 2e6)]
        elsewhere = control_config._replace(relay=())
        assert not control.update(before._replace(control=elsewhere)), "it has to be restarted"
        await control.stop()

    run(main())


# TLS.


def tcp_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as one:
        return local_address(one).port


def test_a_control_takes_tls_connections_and_reports_where(run: Run[Any], tmp_path: Path) -> None:
    at_tls = f"127.0.0.1:{tcp_port()}"
    planned = plan(tmp_path, tls=at_tls, relay=free_address())

    async def main() -> None:
        recorder = Recorder()
        control = ControlTask(planned, recorder.services)
        await control.start()
        [ready] = recorder.of("control.ready")
        assert ready["tls"] == at_tls
        assert f", TLS on {at_tls}" in recorder.said[0]
        async with tls_peer(parse_address(at_tls)):
            pass
        await control.stop()

    run(main())


def test_a_certificate_that_cannot_be_read_stops_its_control(run: Run[Any], tmp_path: Path) -> None:
    planned = plan(tmp_path, tls="127.0.0.1:443", relay=free_address(), tls_certificate="cert.pem")

    async def main() -> None:
        control = ControlTask(planned, Recorder().services)
        with pytest.raises(MissingFileError, match=r"cert\.pem: No such file"):
            await control.start()
        await control.stop()

    run(main())


def test_a_reload_takes_a_renewed_certificate(run: Run[Any], tmp_path: Path) -> None:
    at_tls = f"127.0.0.1:{tcp_port()}"
    path = tmp_path / "cert.pem"
    path.write_bytes(self_signed("former.example.net"))
    planned = plan(tmp_path, tls=at_tls, relay=free_address(), tls_certificate="cert.pem")

    async def shown() -> bytes:
        async with tls_peer(parse_address(at_tls)) as peer:
            der: bytes = peer.writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
            return der

    async def main() -> None:
        recorder = Recorder()
        control = ControlTask(planned, recorder.services)
        await control.start()
        former = await shown()
        path.write_bytes(b"half of one")
        assert control.update(planned)
        assert await shown() == former
        assert "the former certificate stays in use" in recorder.said[-1]
        path.write_bytes(self_signed("renewed.example.net"))
        assert control.update(planned)
        assert await shown() != former
        await control.stop()

    run(main())

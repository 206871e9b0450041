"""netpunch.doctor.local: ports, programs, folders, rights and limits of this host."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from netpunch.config.loading import select
from netpunch.config.model import Part
from netpunch.doctor import host, local
from netpunch.doctor.finding import Level
from netpunch.doctor.host import Unit
from netpunch.errors import ResourcesError
from netpunch.net import port_owner
from netpunch.net.port_owner import Owner, PortOwners
from netpunch.net.sockets import bind
from netpunch.net.tls_certificate import self_signed
from netpunch.wire.card import NatClass
from tests.doctor.seen import end_of, only, site_of

OK, WARN, FAIL = Level
HOLDS = "mode: keep"


def running(state: str = "up", **more: Any) -> dict[str, Any]:
    """The status of this very process, as if it ran end a of `p`."""
    pair = {"pair": "p", "end": "a", "state": state, "since": "2026-01-02T12:00:00.5Z"} | more
    status = {"ts": "2026-01-02T12:03:05.7Z", "pid": os.getpid(), "summary": "1 of 1 pair up"}
    return {**status, "pairs": [pair], "controls": []}


class Owners(PortOwners):
    """Every port belongs to the same one."""

    def __init__(self, owner: Owner | None) -> None:
        super().__init__()
        self._owner = owner

    def owner(self, host: str, port: int) -> Owner | None:
        del host, port
        return self._owner


VPN = Owners(Owner("openvpn", 77))
NOBODY = Owners(None)


@pytest.fixture
def taken() -> Iterator[int]:
    """A UDP port that this process has."""
    [sock] = bind("127.0.0.1", 0)
    with sock:
        yield sock.getsockname()[1]


# Ports.


def test_any_free_port_is_always_there(tmp_path: Path) -> None:
    assert "any free" in only(OK, local.port(end_of(tmp_path), None, VPN)).text


def test_a_free_port(tmp_path: Path) -> None:
    found = only(OK, local.port(end_of(tmp_path, 'local: ":5000"'), None, NOBODY))
    assert found.text == "UDP 5000 is free"


def test_looking_at_a_free_port_does_not_take_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[int] = []

    def bind(_: str, port: int) -> list[socket.socket]:
        tried.append(port)
        return []

    monkeypatch.setattr(local, "binder", lambda _: bind)
    local.port(end_of(tmp_path, 'local: ":5000"'), None, NOBODY)
    assert tried == [0]


def test_a_port_that_another_program_has(taken: int, tmp_path: Path) -> None:
    end = end_of(tmp_path, f'local: "127.0.0.1:{taken}"')
    found = only(FAIL, local.port(end, None, PortOwners()))
    assert f"(process {os.getpid()})" in found.text
    assert found.blocks


def test_a_port_that_the_running_netpunch_has(taken: int, tmp_path: Path) -> None:
    end = end_of(tmp_path, f'local: "127.0.0.1:{taken}"')
    found = only(OK, local.port(end, running("waiting"), PortOwners()))
    assert "held by the running netpunch" in found.text


@pytest.mark.parametrize(
    ("end", "process", "text"),
    [
        ("", running(), "uses the link"),
        ("hooks: {before: [/bin/true]}", None, "`before` has to lend it"),
        ("check: [/bin/true]", None, "while `check` passes"),
    ],
)
def test_a_program_that_may_have_the_port(
    end: str, process: dict[str, Any] | None, text: str, tmp_path: Path
) -> None:
    ours = end_of(tmp_path, f'local: ":5000", {end}')
    assert text in only(OK, local.port(ours, process, VPN)).text


def test_an_address_that_this_host_does_not_have(tmp_path: Path) -> None:
    found = only(FAIL, local.port(end_of(tmp_path, 'local: "192.0.2.77:5000"'), None, NOBODY))
    assert "does not have the address 192.0.2.77" in found.text
    assert not found.blocks  # `run` waits for it


def test_an_interface_that_this_host_does_not_have(tmp_path: Path) -> None:
    end = end_of(tmp_path, 'local: ":5000", interface: nothere')
    assert "nothere" in only(FAIL, local.port(end, None, NOBODY)).text


def test_a_port_of_which_the_system_does_not_tell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "sockets_at", lambda _host, _port: None)
    assert only(WARN, local.port(end_of(tmp_path, 'local: ":5000"'), None, NOBODY))


def shared(folder: Path) -> Any:
    return end_of(folder, 'local: ":51820"', f"defaults: {{share: on, {HOLDS}, local: ':51820'}}")


def test_a_shared_port_of_a_program(tmp_path: Path) -> None:
    owners = Owners(Owner("WireGuard (wg0)"))
    found = only(OK, local.port(shared(tmp_path), None, owners))
    assert found.text == "UDP 51820 is owned by WireGuard (wg0), and shared with it"


def test_a_shared_port_of_nobody(tmp_path: Path) -> None:
    found = only(WARN, local.port(shared(tmp_path), None, NOBODY))
    assert "wg-quick up" in found.cure


def test_an_owner_that_this_user_may_not_see(
    taken: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: Path) -> Iterator[Path]:
        raise PermissionError

    monkeypatch.setattr(Path, "iterdir", _but_of_processes(refuse))
    owner = PortOwners().owner("127.0.0.1", taken)
    assert str(owner).endswith("a program that this user may not see")


def _but_of_processes(refuse: Callable[[Path], Iterator[Path]]) -> Callable[[Path], Iterator[Path]]:
    usual = Path.iterdir
    return lambda path: refuse(path) if path.name == "fd" else usual(path)


def test_shared_ports_are_relayed_one_at_a_time(tmp_path: Path) -> None:
    end = shared(tmp_path)
    assert "carries one" in only(WARN, local.relayed_shares([end, end], NatClass.HARD_STEP)).text
    assert not list(local.relayed_shares([end, end], NatClass.EASY))
    assert not list(local.relayed_shares([end], NatClass.HARD_STEP))


# Programs and folders.


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ("mode: keep", "nothing will use this link"),
        ("mode: keep, share: on, local: ':5000'", "nothing tells the program that shares the port"),
    ],
)
def test_a_link_that_nothing_uses(settings: str, text: str, tmp_path: Path) -> None:
    site = site_of(tmp_path, site=f"defaults: {{{settings}}}")
    found = only(WARN, local.use(site, site.pairs[0].a))
    assert found.text.startswith(text)
    assert "add `" in found.cure.lower()


def test_a_link_that_is_used(tmp_path: Path) -> None:
    forward = '{listen: "127.0.0.1:7001", to: "127.0.0.1:7000"}'
    site = site_of(tmp_path, site=f"defaults: {{mode: keep, forward: {forward}}}")
    assert not list(local.use(site, site.pairs[0].a))


def test_programs_that_are_there(tmp_path: Path) -> None:
    end = end_of(tmp_path, "hooks: {up: [/bin/sh], down: [/bin/sh]}")
    assert only(OK, local.programs(end)).text == "/bin/sh (hooks.up, hooks.down)"


def test_a_hook_that_is_not_executable(tmp_path: Path) -> None:
    (tmp_path / "hook").write_text("#!/bin/sh\n")
    found = only(FAIL, local.programs(end_of(tmp_path, "hooks: {up: [./hook]}")))
    assert found.text == f"hooks.up: {tmp_path}/hook: not executable"
    assert found.cure == "`chmod +x` it"
    assert (found.blocks, found.code) == (True, 1)


def test_a_program_that_cannot_be_looked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def find_program(*_: object) -> str:
        raise ResourcesError("./hook: Too many open files: raise LimitNOFILE=")

    monkeypatch.setattr(local, "find_program", find_program)
    found = only(FAIL, local.programs(end_of(tmp_path, "hooks: {up: [./hook]}")))
    assert (found.text, found.cure) == ("./hook: Too many open files", "raise LimitNOFILE=")


@pytest.mark.parametrize("key", ["hooks: {up: [./none]}", "check: [./none]"])
def test_a_program_that_is_missing(key: str, tmp_path: Path) -> None:
    found = only(FAIL, local.programs(end_of(tmp_path, key)))
    assert "no such program" in found.text


def test_a_command_whose_name_depends_on_the_link(tmp_path: Path) -> None:
    end = end_of(tmp_path, 'command: ["/opt/{rhost}"]', f"defaults: {{{HOLDS}, command: [x]}}")
    assert "depends on the link" in only(WARN, local.programs(end)).text


def test_a_folder_that_can_be_written(tmp_path: Path) -> None:
    end = end_of(tmp_path, 'env_file: "{pair}.env"')
    assert only(OK, local.folders(part(tmp_path), end)).text == f"{tmp_path} (env_file)"


@pytest.mark.parametrize("key", ["status: gone/s.sock", "metrics: {textfile: gone/m.prom}"])
def test_a_folder_that_is_missing(key: str, tmp_path: Path) -> None:
    here = select(site_of(tmp_path, site=key), "home", "x", None)
    found = only(FAIL, local.folders(here, end_of(tmp_path)))
    assert "there is no folder" in found.text
    assert found.code == 73


def test_a_folder_without_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = os.statvfs_result((4096, 4096, 10, 0, 0, 10, 10, 10, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda _: full)
    found = only(FAIL, local.folders(part(tmp_path), end_of(tmp_path, "env_file: p.env")))
    assert "no space is left" in found.text


def test_a_folder_that_may_not_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    end = end_of(tmp_path, "env_file: p.env")
    monkeypatch.setattr(os, "access", lambda _path, _mode: False)  # root may write everywhere
    assert "may not write" in only(FAIL, local.folders(part(tmp_path), end)).text


# Rights.


NEEDED = {
    "CAP_NET_RAW": ("", f"defaults: {{share: on, {HOLDS}, local: ':51820'}}"),
    "CAP_NET_ADMIN": ("mark: 51820", ""),
    "CAP_NET_BIND_SERVICE": ('local: ":80"', ""),
}


@pytest.mark.parametrize("capability", NEEDED)
def test_a_right_that_the_running_process_lacks(
    capability: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "capabilities", lambda _pid: set())
    found = only(FAIL, local.rights(end_of(tmp_path, *NEEDED[capability]), running()))
    assert capability in found.text
    assert found.code == 77


@pytest.mark.parametrize("capability", NEEDED)
def test_a_right_that_this_user_lacks(
    capability: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "capabilities", lambda _pid: set())
    found = only(WARN, local.rights(end_of(tmp_path, *NEEDED[capability]), None))
    assert found.cure.startswith("unless another one runs netpunch")


@pytest.mark.parametrize("capability", NEEDED)
def test_a_right_that_is_there(
    capability: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "capabilities", lambda _pid: {capability})
    assert only(OK, local.rights(end_of(tmp_path, *NEEDED[capability]), None))


def test_rights_that_a_process_does_not_tell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "capabilities", lambda _pid: None)
    found = only(WARN, local.rights(end_of(tmp_path, "mark: 1"), running()))
    assert found.cure == "run this as root"


def test_a_hook_that_sets_up_an_interface_needs_a_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "capabilities", lambda _pid: set())
    end = end_of(tmp_path, "hooks: {up: [/usr/local/lib/netpunch/wireguard, wg0]}")
    assert "CAP_NET_ADMIN (hooks.up: wireguard)" in only(WARN, local.rights(end, None)).text


def test_an_end_without_such_modes_needs_no_right(tmp_path: Path) -> None:
    assert not list(local.rights(end_of(tmp_path, 'local: ":5000"'), None))


# Limits.


def part(folder: Path, end: str = "", site: str = "") -> Part:
    return Part("home", (), (end_of(folder, end, site),))


@pytest.mark.parametrize(("limit", "level"), [(256, WARN), (20_000, OK)])
def test_descriptors_for_so_many_pairs(
    limit: int, level: Level, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "descriptor_limit", lambda _pid: limit)
    found = only(level, local.limits(part(tmp_path), None))
    assert f"{limit} files at once, 1 pair here may need 372" in found.text


@pytest.mark.parametrize(("allowed", "level"), [(212_992, WARN), (4_194_304, OK)])
def test_the_receive_buffer_matters_where_netpunch_forwards(
    allowed: int, level: Level, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rmem_max = tmp_path / "rmem_max"
    rmem_max.write_text(f"{allowed}\n")
    monkeypatch.setattr(local, "RECEIVE_BUFFER_LIMIT", rmem_max)
    monkeypatch.setattr(local, "descriptor_limit", lambda _pid: None)
    forward = 'forward: {listen: "127.0.0.1:6000", to: "127.0.0.1:6001"}'
    assert only(level, local.limits(part(tmp_path, forward, f"defaults: {{{HOLDS}}}"), None))
    assert not list(local.limits(part(tmp_path), None))


def test_this_process_tells_its_limit_and_its_rights() -> None:
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert host.descriptor_limit() == soft
    assert host.capabilities() is not None


def test_a_process_that_has_ended_tells_nothing() -> None:
    assert host.descriptor_limit(2**22 + 1) is None
    assert host.capabilities(2**22 + 1) is None


# Units and processes.


UNITS = """\
netpunch-control.service disabled enabled
netpunch.service enabled enabled
netpunch-once@.service static -
netpunch-once@.timer indirect enabled
"""
LOADED = """\
netpunch.service loaded failed failed netpunch
netpunch-once@home-office.timer loaded active waiting netpunch once
"""


def test_units_are_read_from_systemctl() -> None:
    assert host.parse_units(UNITS, LOADED) == [
        Unit("netpunch-control.service", "inactive", "disabled"),
        Unit("netpunch-once@home-office.timer", "active", "indirect"),
        Unit("netpunch.service", "failed", "enabled"),
    ]


def test_systemctl_is_asked_for_our_units(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    systemctl = tmp_path / "systemctl"
    systemctl.write_text(
        '#!/bin/sh\ncase "$*" in\n'
        '*list-unit-files*"netpunch*") echo "netpunch.service enabled enabled";;\n'
        '*list-units*"netpunch*") echo "netpunch.service loaded active running links";;\n'
        "esac\n"
    )
    systemctl.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(host, "SYSTEMD", tmp_path)
    assert host.units() == [Unit("netpunch.service", "active", "enabled")]


def test_a_host_without_systemd_has_no_units(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host, "SYSTEMD", tmp_path / "none")
    assert host.units() is None


def test_a_systemctl_that_hangs_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    systemctl = tmp_path / "systemctl"
    systemctl.write_text("#!/bin/sh\nexec sleep 60\n")
    systemctl.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(host, "SYSTEMD", tmp_path)
    monkeypatch.setattr(host, "SYSTEMCTL_SECONDS", 0.1)
    assert host.units() is None


def test_a_unit_that_runs() -> None:
    found = only(OK, local.unit([Unit("netpunch.service", "active", "enabled")], []))
    assert found.text == "netpunch.service is active, enabled"


def test_a_unit_that_has_failed() -> None:
    found = only(FAIL, local.unit([Unit("netpunch.service", "failed", "enabled")], []))
    assert found.cure == "`journalctl -u netpunch.service -n 20` says why"


def test_a_unit_that_is_enabled_and_does_not_run() -> None:
    found = only(WARN, local.unit([Unit("netpunch.service", "inactive", "enabled")], []))
    assert found.cure == "`systemctl start netpunch.service`"


def test_a_unit_that_is_not_used_is_not_mentioned() -> None:
    assert not list(local.unit([Unit("netpunch-control.service", "inactive", "disabled")], []))


def test_what_a_running_process_says(tmp_path: Path) -> None:
    site = site_of(tmp_path)
    assert "1 of 1 pair up" in only(OK, local.running(site, [running()])).text
    assert only(OK, local.running(site, []))
    refused = running() | {"reload_err": "site.yaml:3: bad\n  here"}
    assert "last reload failed: site.yaml:3: bad" in only(WARN, local.running(site, [refused])).text


@pytest.mark.parametrize(
    ("process", "level", "text"),
    [
        (running(path="observed", raddr="203.0.113.9:5"), OK, "up, 3 m ago: observed, "
         "203.0.113.9:5"),
        (running(), OK, "up, 3 m ago: as its check says"),
        (running("waiting", reason="partner_absent"), WARN, "waiting, partner not there: control "
         "answers"),
        (running("failed", reason="blocked", err="nothing arrives: a firewall?"), WARN, "failed, "
         "nothing gets through: nothing arrives"),
        (running("punching"), OK, "punching"),
    ],
)  # fmt: skip
def test_what_a_running_process_says_of_the_end(
    process: dict[str, Any], level: Level, text: str, tmp_path: Path
) -> None:
    found = local.state(end_of(tmp_path), process)
    assert only(level, found).text == text


# Controls of this node.


def test_the_ports_of_a_control(tmp_path: Path) -> None:
    [control] = site_of(tmp_path).controls
    ports = [only(OK, each).text for each in local.control_ports(control, [], NOBODY)]
    assert ports == [
        "UDP 10001 (listen) is free: control does not run",
        "UDP 10002 (observe) is free: control does not run",
    ]


def test_the_ports_of_a_control_that_runs(tmp_path: Path) -> None:
    [control] = site_of(tmp_path).controls
    process = {"pid": 77, "controls": [{"control": "vps"}]}
    for found in local.control_ports(control, [process], VPN):
        assert "held by the running netpunch" in only(OK, found).text


def test_a_port_of_a_control_that_another_program_has(tmp_path: Path) -> None:
    [control] = site_of(tmp_path).controls
    for found in local.control_ports(control, [], VPN):
        assert "owned by openvpn (process 77)" in only(FAIL, found).text


def test_the_certificate_of_a_control(tmp_path: Path) -> None:
    site = site_of(tmp_path)
    [control] = site.controls
    assert local.certificate(control) is None
    file = tmp_path / "tls.pem"
    file.write_bytes(self_signed("vps"))
    file.chmod(0o600)
    good = control._replace(tls_certificate=file, tls_key=file)
    found = local.certificate(good)
    assert found is not None
    assert only(OK, found)
    file.write_text("no certificate")
    found = local.certificate(good)
    assert found is not None
    assert only(FAIL, found).code == 78


def test_a_kernel_socket_is_nobodys_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(port_owner, "OWN", tmp_path)
    owners = PortOwners()
    owners._processes = {}
    [sock] = bind("127.0.0.1", 0)
    with sock:
        owner = owners.owner("127.0.0.1", sock.getsockname()[1])
    assert owner is not None
    assert owner.pid is None


def test_nobody_owns_a_free_port() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    assert PortOwners().owner("127.0.0.1", port) is None


@pytest.mark.parametrize(("loss", "level"), [(0.0, OK), (0.1, OK), (0.4, WARN)])
def test_a_link_that_loses_much(loss: float, level: Level, tmp_path: Path) -> None:
    told = running(loss=loss, raddr="203.0.113.9:5000", path="observed")
    found = local.state(end_of(tmp_path), told)
    assert found is not None
    assert only(level, found).text.endswith("loses 40% of its latest pings") is (level is WARN)
    assert ("`ping -i 0.2 203.0.113.9`" in found.cure) is (level is WARN)

"""netpunch init and join: from nothing to a site on three hosts, by what init prints."""

from __future__ import annotations

import argparse
import ipaddress
import os
import re
import shutil
import socket
import stat
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from netpunch.cli import init, join, main, new_site
from netpunch.config.blueprint import VPNS, Identity
from netpunch.config.invitation import format_invitation, parse_invitation
from netpunch.config.loading import load
from netpunch.config.secrets import parse_key
from netpunch.wire import keys
from tests.cli.programs import COMMAND, environment, line_with, started

Captured = pytest.CaptureFixture[str]

PAIR = "home-office"
NODES = {"home": "office", "office": "home"}
VPN_PATIENCE = 20.0


class Told(NamedTuple):
    """What init printed: the invitations, and everything."""

    control: str
    partner: str
    text: str


def init_argv(folder: Path, vpn: str, *more: str) -> list[str]:
    named = ["--control", "vps.example.net", "--me", "home", "--partner", "office"]
    return ["init", PAIR, *named, "--vpn", vpn, "-o", str(folder / "home"), *more]


def run_init(folder: Path, capsys: Captured, vpn: str, *more: str) -> Told:
    assert main(init_argv(folder, vpn, "--show-invitations", *more)) == 0
    text = capsys.readouterr().out
    control, partner = re.findall("^npi1:.+$", text, re.MULTILINE)
    return Told(control, partner, text)


def run_join(folder: Path, invitation: str) -> int:
    """With the invitation as what a pipe gives."""
    read, write = os.pipe()
    os.write(write, invitation.encode())
    os.close(write)
    before, sys.stdin = sys.stdin, open(read)  # noqa: SIM115, PTH123 - closed below
    try:
        return main(["join", "-o", str(folder)])
    finally:
        sys.stdin.close()
        sys.stdin = before


def modes(folder: Path) -> dict[str, int]:
    return {
        str(path.relative_to(folder)): stat.S_IMODE(path.stat().st_mode)
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("end", ["a", "b"])
@pytest.mark.parametrize("vpn", VPNS)
def test_three_hosts_get_one_site_and_matching_keys(
    folder: Path, capsys: Captured, vpn: str, end: str
) -> None:
    told = run_init(folder, capsys, vpn, "--end", end)
    assert run_join(folder / "vps", told.control) == 0
    assert run_join(folder / "office", told.partner) == 0
    hosts = ("home", "office", "vps")
    texts = {host: (folder / host / "site.yaml").read_text() for host in hosts}
    assert len({re.sub(r"^node: .*\n", "", text, flags=re.M) for text in texts.values()}) == 1
    (pair,) = load(folder / "home" / "site.yaml").pairs
    assert (pair.a.node, pair.b.node) == (("home", "office") if end == "a" else ("office", "home"))
    values = {
        host: parse_key((folder / host / "keys" / f"{PAIR}.key").read_text()) for host in hosts
    }
    assert values["home"] == values["office"]
    assert values["home"].kind == "pair"
    assert values["vps"].value == keys.control_key(values["home"].value, PAIR)
    for host in hosts:
        assert main(["check", str(folder / host / "site.yaml")]) == 0


@pytest.mark.parametrize("vpn", VPNS)
def test_what_holds_a_secret_has_mode_0600(folder: Path, capsys: Captured, vpn: str) -> None:
    before = os.umask(0)
    try:
        told = run_init(folder, capsys, vpn)
        run_join(folder / "office", told.partner)
        run_join(folder / "vps", told.control)
    finally:
        os.umask(before)
    public = {"site.yaml": 0o644, "hooks/wireguard": 0o755}
    for host in ("home", "office", "vps"):
        found = modes(folder / host)
        assert found == {name: public.get(name, 0o600) for name in found}
        assert stat.S_IMODE((folder / host / "keys").stat().st_mode) == 0o700
        assert stat.S_IMODE((folder / host).stat().st_mode) == 0o755
    assert set(modes(folder / "vps")) == {"site.yaml", f"keys/{PAIR}.key"}


def test_a_strict_umask_leaves_the_site_file_readable(folder: Path, capsys: Captured) -> None:
    """A service has a user of its own."""
    before = os.umask(0o077)
    try:
        run_init(folder, capsys, "wireguard-share")
    finally:
        os.umask(before)
    assert modes(folder / "home")["site.yaml"] == 0o644
    assert modes(folder / "home")["hooks/wireguard"] == 0o755


def wireguard_settings(file: Path) -> dict[str, str]:
    return dict(re.findall(r"^(\w+) = (.+)$", file.read_text(), re.MULTILINE))


@pytest.mark.parametrize("vpn", ["wireguard-share", "wireguard-forward"])
@pytest.mark.skipif(shutil.which("wg") is None, reason="needs wg")
def test_wireguard_of_both_ends_knows_the_other(folder: Path, capsys: Captured, vpn: str) -> None:
    told = run_init(folder, capsys, vpn)
    run_join(folder / "office", told.partner)
    settings = {
        node: wireguard_settings(folder / node / f"wg-{PAIR}.conf") for node in ("home", "office")
    }
    for node, partner in NODES.items():
        public = subprocess.run(
            ["wg", "pubkey"],
            input=settings[node]["PrivateKey"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        assert settings[partner]["PublicKey"] == public
        own = ipaddress.IPv4Interface(settings[node]["Address"])
        assert settings[partner]["AllowedIPs"] == f"{own.ip}/32"
        assert own.network.prefixlen == 30
    site = load(folder / "home" / "site.yaml").pairs[0]
    port = int(settings["home"]["ListenPort"])
    if vpn == "wireguard-share":
        assert site.a.settings.local == ("", port)
        assert site.b.wireguard_key == settings["home"]["PublicKey"]
        assert Path(site.a.hooks.up[0]) == folder / "home" / "hooks" / "wireguard"
        assert os.access(site.a.hooks.up[0], os.X_OK)
    else:
        assert site.a.forward is not None
        assert site.a.forward.to == ("127.0.0.1", port)
        assert settings["home"]["Endpoint"] == str(site.a.forward.listen)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_openvpn_of_both_ends_knows_the_other(folder: Path, capsys: Captured) -> None:
    told = run_init(folder, capsys, "openvpn")
    run_join(folder / "office", told.partner)
    for node, partner in NODES.items():
        conf = folder / node / f"{PAIR}.conf"
        argv = ["openssl", "x509", "-noout", "-fingerprint", "-sha256", "-in", str(conf)]
        printed = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
        others = (folder / partner / f"{PAIR}.conf").read_text()
        assert f'"{printed.strip().partition("=")[2]}"' in others
        assert "PEER-FINGERPRINT" not in conf.read_text()


def test_controls_invitation_has_nothing_secret_but_its_key(folder: Path, capsys: Captured) -> None:
    told = run_init(folder, capsys, "wireguard-share")
    key = parse_key((folder / "home" / "keys" / f"{PAIR}.key").read_text()).value
    invitation = parse_invitation(told.control)
    assert invitation.key == keys.control_key(key, PAIR)
    secrets = [key]
    partner = parse_invitation(told.partner)
    assert partner.identity is not None
    secrets.append(partner.identity.private_key)
    assert not [each for each in secrets if repr(each)[2:-1] in repr(tuple(invitation))]


def test_the_partners_invitation_lacks_this_hosts_own_wireguard_key(
    folder: Path, capsys: Captured
) -> None:
    partner = parse_invitation(run_init(folder, capsys, "wireguard-forward").partner)
    assert partner.identity is not None
    public = X25519PrivateKey.from_private_bytes(partner.identity.private_key).public_key()
    assert partner.site.known_by is not None
    assert partner.site.known_by[1] == public.public_bytes_raw()


def test_without_a_terminal_invitations_go_to_files_of_mode_0600(
    folder: Path, capsys: Captured
) -> None:
    assert main(init_argv(folder, "none")) == 0
    printed = capsys.readouterr().out
    assert "npi1:" not in printed
    for node, role in {"vps": "control", "office": "b"}.items():
        file = folder / "home" / f"{PAIR}.{node}.invitation"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert parse_invitation(file.read_text()).role == role
        host = "vps.example.net" if node == "vps" else node
        assert f"   ssh {host} netpunch join <{file}\n" in printed


def test_secrets_are_in_no_message(folder: Path, capsys: Captured) -> None:
    assert main(init_argv(folder, "wireguard-share")) == 0
    key = (folder / "home" / "keys" / f"{PAIR}.key").read_text().strip()
    private = wireguard_settings(folder / "home" / f"wg-{PAIR}.conf")["PrivateKey"]
    output = "".join(capsys.readouterr())
    assert key not in output
    assert private not in output


@pytest.mark.parametrize(
    "existing",
    [
        "site.yaml",
        f"keys/{PAIR}.key",
        f"wg-{PAIR}.conf",
        "hooks/wireguard",
        f"{PAIR}.vps.invitation",
    ],
)
def test_init_overwrites_nothing_and_then_writes_nothing(
    folder: Path, capsys: Captured, existing: str
) -> None:
    file = folder / "home" / existing
    file.parent.mkdir(parents=True)
    file.symlink_to("nowhere")
    assert main(init_argv(folder, "wireguard-share")) == 73
    assert f"{file}: the file exists, and nothing is ever overwritten" in capsys.readouterr().err
    assert [path for path in folder.rglob("*") if path.is_file() or path.is_symlink()] == [file]


def test_join_overwrites_nothing(folder: Path, capsys: Captured) -> None:
    told = run_init(folder, capsys, "none")
    before = (folder / "home" / "site.yaml").read_bytes()
    assert run_join(folder / "home", told.partner) == 73
    assert (folder / "home" / "site.yaml").read_bytes() == before


def test_a_full_disk_leaves_nothing_behind(
    folder: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_space(descriptor: int) -> None:
        if Path(f"/proc/self/fd/{descriptor}").resolve().name.startswith("wg-"):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", no_space)
    assert main(init_argv(folder, "wireguard-share")) == 73
    assert "wg-home-office.conf: cannot be written: No space left" in capsys.readouterr().err
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("flaw", "message"),
    [
        (lambda text: text[:-20], "its end is missing; copy the whole line again. Nothing was"),
        (lambda text: text[:40] + ("A" if text[40] != "A" else "B") + text[41:], "wrong checksum"),
        (lambda text: "npk1" + text[4:], "this is a key, not an invitation"),
        (lambda text: "npi2" + text[4:], "a newer netpunch made this invitation"),
        (lambda text: "", "got nothing"),
        (lambda text: text * 40, "damaged invitation"),
    ],
    ids=["truncated", "altered", "key", "newer", "empty", "long"],
)
def test_without_a_whole_invitation_nothing_is_written(
    folder: Path, capsys: Captured, flaw: object, message: str
) -> None:
    assert callable(flaw)
    told = run_init(folder, capsys, "wireguard-share")
    assert run_join(folder / "office", flaw(told.partner)) == 64
    captured = capsys.readouterr()
    assert (message in captured.err, captured.out) == (True, "")
    assert told.partner[60:80] not in captured.err
    assert not (folder / "office").exists()


@pytest.mark.parametrize(
    "identity", [Identity(bytes(32), b"no certificate"), Identity(bytes(32)), None]
)
def test_an_invitation_without_a_certificate_is_refused_and_nothing_is_written(
    folder: Path, capsys: Captured, identity: Identity | None
) -> None:
    told = run_init(folder, capsys, "openvpn")
    partner = parse_invitation(told.partner)
    if identity is None:  # a right one, but a key that is none on that curve
        assert partner.identity is not None
        identity = partner.identity._replace(private_key=bytes(32))
    assert run_join(folder / "x", format_invitation(partner._replace(identity=identity))) == 64
    assert "no valid certificate" in capsys.readouterr().err
    assert not (folder / "x").exists()


def test_an_invitation_as_an_argument_is_refused_and_not_repeated(capsys: Captured) -> None:
    assert main(["join", "npi1:AAAAAAAA"]) == 64
    errors = capsys.readouterr().err
    assert "visible to everyone on this host" in errors
    assert "AAAA" not in errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "missing: PAIR, --control HOST, --partner NODE, --vpn"),
        (["p", "--control", "v.net", "--partner", "x"], "missing: --vpn wireguard-share|"),
        (["P!", "--control", "v.net", "--partner", "x", "--vpn", "none"], "the pair's name: 'P!'"),
        (["p", "--control", "v.net:x", "--partner", "x", "--vpn", "none"], "'v.net:x'"),
        (["p", "--control", "v.net", "--partner", "h", "--vpn", "none"], "both ends are named h"),
        (["p", "--control", "v.net", "--partner", "a b", "--vpn", "none"], "'a b'"),
    ],
)
def test_what_is_missing_or_wrong_is_named(
    folder: Path, capsys: Captured, arguments: list[str], message: str
) -> None:
    assert main(["init", "--me", "h", *arguments]) == 64
    assert message in capsys.readouterr().err
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("vps.example.net", "vps.example.net:10001"),
        ("vps.example.net:7777", "vps.example.net:7777"),
        ("198.51.100.7", "198.51.100.7:10001"),
        ("2001:db8::7", "[2001:db8::7]:10001"),
        ("[2001:db8::7]", "[2001:db8::7]:10001"),
        ("[2001:db8::7]:7777", "[2001:db8::7]:7777"),
    ],
)
def test_controls_port_may_be_left_out(text: str, address: str) -> None:
    assert str(init.control_at(text)) == address


@pytest.mark.parametrize(
    ("text", "node"),
    [
        ("vps.example.net", "vps"),
        ("VPS", "vps"),
        ("198.51.100.7", "control"),
        ("2001:db8::7", "control"),
        ("localhost", "control"),
        ("home.example.net", "control"),
    ],
)
def test_controls_node_is_named_by_its_host(text: str, node: str) -> None:
    assert init.control_node(init.control_at(text), ("home", "office")) == node


def test_the_tunnels_network_overlaps_no_route_of_this_host(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    taken = [ipaddress.IPv4Network(each) for each in ("10.192.0.0/11", "10.224.0.0/12")]
    monkeypatch.setattr("netpunch.net.routes.ipv4_networks", lambda: taken)
    for _ in range(50):
        network = init.free_network()
        assert network.prefixlen == 30
        assert network.subnet_of(ipaddress.IPv4Network("10.240.0.0/12"))


def test_the_ports_of_wireguard_are_free_on_this_host() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        assert not init._is_free(port)
    assert init._is_free(port)


def test_an_interface_has_a_name_that_wg_quick_accepts(folder: Path, capsys: Captured) -> None:
    argv = init_argv(folder, "wireguard-share", "--show-invitations")
    argv[1] = "a-very-very-long-name-of-a-pair"
    assert main(argv) == 0
    (conf,) = (folder / "home").glob("wg-*.conf")
    assert re.fullmatch(r"[a-zA-Z0-9_=+.-]{1,15}", conf.stem)
    assert conf.stem in (folder / "home" / "site.yaml").read_text()


def test_a_site_file_names_its_node_only_where_the_host_name_does_not(
    folder: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "Home.example.net")
    run_init(folder, capsys, "none")
    assert "node" not in yaml.safe_load((folder / "home" / "site.yaml").read_text())


# What to do next.


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """All programs are."""
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/local/bin/{name}")


def commands(text: str) -> list[str]:
    return re.findall("^   (.+)$", text, re.MULTILINE)


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize("uid", [0, 1000])
@pytest.mark.parametrize("vpn", VPNS)
def test_the_next_commands_of_every_host(
    folder: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch, vpn: str, uid: int
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    told = run_init(folder, capsys, vpn)
    assert run_join(folder / "vps", told.control) == 0
    run = f"run {folder}/vps/site.yaml"
    assert commands(capsys.readouterr().out) == [f"netpunch {run}"]
    assert run_join(folder / "office", told.partner) == 0
    joined = capsys.readouterr().out
    sudo = "sudo /usr/local/bin/" if uid and vpn in ("wireguard-share", "openvpn") else ""
    wireguard = [f"wg-quick up {folder}/office/wg-{PAIR}.conf"] if "wireguard" in vpn else []
    expected = [*wireguard, f"{sudo}netpunch run {folder}/office/site.yaml"]
    if vpn != "none":
        network = parse_invitation(told.partner).site.network
        assert network is not None
        expected += [
            "and, once it is linked with home, in another terminal:",
            f"ping {network.network_address + 1}",
        ]
    expected += [
        "If it does not link, this says why:",
        f"netpunch doctor {folder}/office/site.yaml",
    ]
    assert commands(joined) == expected


@pytest.fixture
def with_systemd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, installed: None) -> Path:
    """The folder of the units is that of the test."""
    monkeypatch.setattr(new_site, "SYSTEM_FOLDER", tmp_path / "etc")
    monkeypatch.setattr(new_site, "RUNNING_SYSTEMD", tmp_path)
    return tmp_path / "etc"


@pytest.mark.parametrize("vpn", VPNS)
def test_with_systemd_every_file_that_a_command_installs_exists(
    with_systemd: Path, folder: Path, capsys: Captured, vpn: str
) -> None:
    told = run_init(folder, capsys, vpn)
    for invitation, unit in ((told.control, "netpunch-control"), (told.partner, "netpunch")):
        shutil.rmtree(with_systemd, ignore_errors=True)
        assert run_join(with_systemd, invitation) == 0
        lines = commands(capsys.readouterr().out)
        assert lines[-1] == f"systemctl daemon-reload && systemctl enable --now {unit}"
        sources = [word for line in lines if "install" in line for word in line.split()[1:]]
        files = [word for word in sources if "." in word and not word.startswith("/etc/")]
        assert len(files) >= 2
        assert all(Path(each).is_file() for each in files), files
        unit_text = (new_site.contrib() / f"{unit}.service").read_text()
        assert "ExecStart=netpunch run /etc/netpunch/site.yaml" in unit_text


def test_units_of_a_package_are_only_enabled(
    with_systemd: Path, folder: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = run_init(folder, capsys, "none")
    for unit in ("netpunch", "netpunch-control"):
        (folder / f"{unit}.service").touch()
    monkeypatch.setattr(new_site, "UNIT_FOLDERS", (folder / "none", folder))
    for invitation, unit in ((told.control, "netpunch-control"), (told.partner, "netpunch")):
        shutil.rmtree(with_systemd, ignore_errors=True)
        assert run_join(with_systemd, invitation) == 0
        _, _, service = capsys.readouterr().out.partition("As a service")
        assert commands(service) == [f"systemctl enable --now {unit}"]


def test_the_hook_of_a_package_stays(folder: Path, capsys: Captured) -> None:
    hook = folder / "home" / "hooks" / "wireguard"
    hook.parent.mkdir(parents=True)
    hook.symlink_to(new_site.contrib() / "hooks" / "wireguard")
    run_init(folder, capsys, "wireguard-share")
    assert hook.is_symlink()


def test_another_hook_in_its_place_is_not_taken_for_a_package_s(
    folder: Path, capsys: Captured
) -> None:
    hook = folder / "home" / "hooks" / "wireguard"
    hook.parent.mkdir(parents=True)
    (folder / "other").touch()
    hook.symlink_to(folder / "other")
    assert main(init_argv(folder, "wireguard-share", "--show-invitations")) != 0
    assert "nothing is ever overwritten" in capsys.readouterr().err
    assert not (folder / "home" / "site.yaml").exists()


def test_root_writes_to_the_folder_of_the_units_by_default(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = argparse.Namespace(folder=None)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert new_site.folder_of(options) == Path("/etc/netpunch")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert new_site.folder_of(options) == folder
    assert new_site.folder_of(join.parse("netpunch join", ["-o", "x"])) == folder / "x"


# On a terminal.


def on_a_terminal(folder: Path, argv: list[str], answers: list[tuple[str, str]]) -> str:
    """What the program prints there; each answer is typed once its question is there."""
    controller, terminal = os.openpty()
    try:
        with subprocess.Popen(
            [*COMMAND, *argv],
            cwd=folder,
            env=environment(),
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            start_new_session=True,
        ) as process:
            os.close(terminal)
            printed = ""
            for question, answer in answers:
                while question not in printed:
                    printed += os.read(controller, 4096).decode()
                os.write(controller, f"{answer}\n".encode())
            try:
                while data := os.read(controller, 4096):
                    printed += data.decode()
            except OSError:  # EIO: the program has ended
                pass
            assert process.wait(VPN_PATIENCE) == 0, printed
    finally:
        os.close(controller)
    return printed.replace("\r\n", "\n")


def test_on_a_terminal_init_asks_and_shows_what_join_takes(folder: Path) -> None:
    printed = on_a_terminal(
        folder,
        ["init", "--me", "home", "-o", "home"],
        [
            ("Control's public name or address: ", "vps .example.net"),
            ("Control's public name or address: ", "vps.example.net"),
            ("The partner's host name: ", "home"),
            ("both ends are named home", "office"),
            ("The pair's name [home-office]: ", ""),
            ("The VPN [wireguard-share]: ", ""),
        ],
    )
    control, partner = re.findall("^npi1:.+$", printed, re.MULTILINE)
    assert not list((folder / "home").glob("*.invitation"))
    joined = on_a_terminal(folder, ["join", "-o", "office"], [("press Enter: ", partner)])
    assert "office is end b of home-office" in joined
    assert partner not in joined
    assert parse_invitation(control).node == "vps"
    assert (folder / "office" / "hooks" / "wireguard").exists()


# Real processes.


def two_free_ports() -> int:
    """The first of two, below those that sockets get without asking: other tests run meanwhile."""
    ports = range(20000, 30000, 2)
    start = os.getpid() % len(ports)
    candidates: list[int] = [*ports[start:], *ports[:start]]
    return next(port for port in candidates if init._is_free(port) and init._is_free(port + 1))


@pytest.mark.parametrize("end", ["a", "b"])
def test_what_init_and_join_write_links(folder: Path, capsys: Captured, end: str) -> None:
    """On loopback. With VPNs it takes namespaces: tests/lab/test_init.py."""
    argv = [
        "init",
        PAIR,
        "--control",
        f"127.0.0.1:{two_free_ports()}",
        "--me",
        "home",
        "--partner",
        "office",
    ]
    argv += ["--vpn", "none", "--end", end, "-o", "home", "--show-invitations"]
    assert main(argv) == 0
    control, partner = re.findall("^npi1:.+$", capsys.readouterr().out, re.MULTILINE)
    assert run_join(folder / "control", control) == 0
    assert run_join(folder / "office", partner) == 0
    with (
        started("run", "control/site.yaml", cwd=folder),
        started("run", "home/site.yaml", cwd=folder) as home,
        started("run", "office/site.yaml", cwd=folder) as office,
    ):
        for process in (home, office):
            assert re.search(r"-> (127\.0\.0\.1|\[::1\]):", line_with(process, "linked"))

"""The faults of networks: hosts of their own in one internet of namespaces, with one control."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from threading import Lock, Thread
from typing import Any

from netpunch.config.secrets import Secret, format_key
from netpunch.wire.keys import control_key
from tests.faults.bench import NETPUNCH, Scene, Watched
from tests.faults.loopback import READY, SECRET, Settings
from tests.lab.namespace import NETNS_FILES
from tests.lab.network import HOME_ROUTER, Host, Lab, Nat, Ports, Router
from tests.lab.wg import private_key

CONTROL_PORT = 10001
VPN_PORT = 5000
DNS_PORT = 53
NOBODY = "203.0.113.99"
NO_SUCH_NAME = b"\x81\x83"
"""Flags of a DNS answer: recursive, NXDOMAIN."""

DROP = """
    table inet fault {{
        chain forward {{ type filter hook forward priority -10; {rule} drop; }}
        chain input {{ type filter hook input priority -10; {rule} drop; }}
    }}
"""
"""Drops what matches, beside the router's own rules."""
FORWARD = {"listen": "127.0.0.1:6000", "to": "127.0.0.1:6001"}
LIMIT = 17
"""Datagrams a second, both ways: fewer than the pings and pongs of the pair."""
LIMITED = 4.5
"""Seconds after which some pings are lost."""
HIDES_SENDERS = """
    add rule ip nat prerouting iifname "wan" udp dport {ports} dnat to {host}
    add rule ip nat postrouting oifname "lan" masquerade fully-random
"""
"""As a container's published port does."""


class Internet:
    """The lab, with a control that serves the pairs of all scenes."""

    def __init__(self, lab: Lab, folder: Path, cleanup: ExitStack, pairs: list[str]) -> None:
        self.lab = lab
        self.folder = folder
        self.cleanup = cleanup
        self.vps = lab.server("vps")
        self._hosts = 0
        self._building = Lock()
        """Scenes are built in threads."""
        site = write_site(folder / "control", self.vps.address, pairs, tls=True)
        self.control = start_control(self.vps, site, cleanup)

    def host(self, router: Router | None = None) -> Host:
        with self._building:
            self._hosts += 1
            label = f"h{self._hosts}"
            return self.lab.host(label, router) if router else self.lab.server(label)

    def router(self, nat: Nat = HOME_ROUTER, behind: Router | None = None) -> Router:
        with self._building:
            self._hosts += 1
            return self.lab.router(f"r{self._hosts}", nat, behind=behind)


def start_control(host: Host, site: Path, cleanup: ExitStack) -> Watched:
    argv = host.namespace.command(*NETPUNCH, "run", str(site), "--node", "vps")
    control = Watched(argv, {}, of_output=False)
    cleanup.callback(control.close)
    assert control.wait_for(lambda line: "listening on" in line, READY), control.transcript
    return control


def write_site(
    folder: Path, control: str, pairs: list[str], *, tls: bool = False, **keys: Any
) -> Path:
    """A site file in a folder of its own, with control's keys if it is for control (no `keys`)."""
    folder.mkdir(parents=True, exist_ok=True)
    address = f"[{control}]" if ":" in control else control
    settings: Settings = {"node": "vps", "address": f"{address}:{CONTROL_PORT}"}
    settings |= {"tls": ":443", "relay": ":10003"} if tls else {}
    site: Settings = {"version": 1, "control": settings, "pairs": {}}
    for pair in pairs:
        own = Secret("pair", SECRET) if keys else Secret("control", control_key(SECRET, pair))
        path = folder / f"{pair}.key"
        path.touch(mode=0o600)
        path.write_text(format_key(own) + "\n")
        ends = {"a": {"node": "home"}, "b": {"node": "office"}}
        site["pairs"][pair] = {"secret_file": path.name} | ends | keys
    (folder / "site.yaml").write_text(json.dumps(site))
    return folder / "site.yaml"


class NetworkScene(Scene):
    """A pair of its own at the common control, between `home` and `office`."""

    def __init__(self, internet: Internet, pair: str) -> None:
        super().__init__(internet.folder / pair, internet.cleanup)
        self.internet = internet
        self.pair = pair

    def site(self, control: str = "", **keys: Any) -> Path:
        address = control or self.internet.vps.address
        return write_site(self.folder, address, [self.pair], **({"mode": "once"} | keys))

    def at(self, host: Host, node: str, site: Path, *commands: str) -> None:
        for command in commands:
            self.start(command, node, site, netpunch=host.namespace.command(*NETPUNCH))

    def drops(self, where: Host | Router, rule: str) -> None:
        where.namespace.run("nft", "-f", "-", stdin=DROP.format(rule=rule))

    def resolver(self, host: Host, server: str) -> None:
        """The name server that programs of a host ask."""
        folder = NETNS_FILES / host.namespace.name
        folder.mkdir(parents=True, exist_ok=True)
        self.cleanup.callback(shutil.rmtree, folder, ignore_errors=True)
        (folder / "resolv.conf").write_text(f"nameserver {server}\n")

    def names(self, host: Host, line: str) -> None:
        self.cleanup.enter_context(host.namespace.hosts_file(line))


def one_direction(scene: NetworkScene) -> None:
    """What the end sends to its partner is lost, while the partner's datagrams arrive."""
    internet = scene.internet
    near, far = internet.router(Nat(dmz=True)), internet.router()
    home, office = internet.host(near), internet.host(far)
    scene.drops(near, f'iifname "lan" ip daddr {far.wan.address} meta l4proto udp')
    scene.drops(far, "meta nfproto ipv6")
    site = scene.site()
    scene.at(office, "office", site, "run")
    scene.at(home, "home", site, "run")


def wrong_control_name(scene: NetworkScene) -> None:
    home = scene.internet.host(scene.internet.router())
    server = scene.internet.lab.udp_socket(scene.internet.vps, DNS_PORT)
    Thread(target=knows_no_name, args=(server,), daemon=True).start()
    scene.resolver(home, scene.internet.vps.address)
    scene.at(home, "home", scene.site("vsp.example.net"), "run", "doctor")


def knows_no_name(server: socket.socket) -> None:
    """A name server, until its socket is closed."""
    server.settimeout(READY)
    try:
        while True:
            query, source = server.recvfrom(512)
            counts = query[4:6] + bytes(6)
            server.sendto(query[:2] + NO_SUCH_NAME + counts + query[12:], source)
    except OSError:
        return


def dead_name_server(scene: NetworkScene) -> None:
    home = scene.internet.host(scene.internet.router())
    scene.resolver(home, NOBODY)
    scene.drops(home, f"ip daddr {NOBODY}")
    scene.at(home, "home", scene.site("vps.example.net"), "run", "doctor")


def port_of_wireguard(scene: NetworkScene) -> None:
    home = scene.internet.host(scene.internet.router())
    wireguard = subprocess.Popen(
        home.namespace.command("wireguard-go", "-f", "wg0"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "WG_PROCESS_FOREGROUND": "1"},
    )
    scene.cleanup.callback(wireguard.wait)
    scene.cleanup.callback(wireguard.kill)
    key = scene.folder / "wg.key"
    scene.folder.mkdir(exist_ok=True)
    key.write_text(private_key())
    configure = f"wg set wg0 listen-port {VPN_PORT} private-key {key} && ip link set wg0 up"
    wait = "while ! ip link show wg0 >/dev/null 2>&1; do sleep 0.1; done"
    home.namespace.run("sh", "-c", f"{wait}; {configure}")
    scene.at(home, "home", scene.site(local=f":{VPN_PORT}"), "run", "doctor")


def udp_blocked(scene: NetworkScene) -> None:
    home = scene.internet.host(scene.internet.router(Nat(udp_blocked=True)))
    scene.at(home, "home", scene.site(), "run", "doctor")


def udp_and_tls_blocked(scene: NetworkScene) -> None:
    router = scene.internet.router()
    scene.drops(router, "meta l4proto { tcp, udp }")
    scene.at(scene.internet.host(router), "home", scene.site(), "run", "doctor")


def port_dropped(scene: NetworkScene) -> None:
    """By the firewall of control's host, or of its provider."""
    vps = scene.internet.host()
    scene.drops(vps, f"udp dport {CONTROL_PORT}")
    start_control(vps, write_site(scene.folder / "vps", vps.address, [scene.pair]), scene.cleanup)
    home = scene.internet.host(scene.internet.router())
    scene.at(home, "home", scene.site(vps.address), "run", "doctor")


def symmetric_nat(scene: NetworkScene) -> None:
    home = scene.internet.host(scene.internet.router(Nat(Ports.RANDOM)))
    scene.at(home, "home", scene.site(), "doctor")


def double_nat(scene: NetworkScene) -> None:
    inner = scene.internet.router(behind=scene.internet.router())
    scene.at(scene.internet.host(inner), "home", scene.site(), "doctor")


def control_behind_translation(scene: NetworkScene) -> None:
    server = scene.internet.router()
    container = scene.internet.host(server)
    ports = f"{{ {CONTROL_PORT}, {CONTROL_PORT + 1} }}"
    rules = HIDES_SENDERS.format(ports=ports, host=container.address)
    server.namespace.run("nft", "-f", "-", stdin=rules)
    site = write_site(scene.folder / "vps", server.wan.address, [scene.pair])
    scene.processes["run", "vps"] = start_control(container, site, scene.cleanup)
    home = scene.internet.host(scene.internet.router())
    scene.at(home, "home", scene.site(server.wan.address), "run", "doctor")


def vpn_route(scene: NetworkScene) -> None:
    home = scene.internet.host(scene.internet.router())
    home.namespace.configure(
        "tuntap add tun0 mode tun",
        "link set tun0 up",
        "address add 10.9.0.1/24 dev tun0",
        f"route add {scene.internet.vps.address} dev tun0",
    )
    scene.at(home, "home", scene.site(), "run", "doctor")


def ipv6_broken(scene: NetworkScene) -> None:
    """Control's name has addresses of both families."""
    internet = scene.internet
    router = internet.router()
    home, office = internet.host(router), internet.host(internet.router())
    scene.drops(router, "meta nfproto ipv6")
    for host in (home, office):
        both = (internet.vps.address4, internet.vps.address6)
        scene.names(host, "\n".join(f"{address} vps.example.net" for address in both))
    site = scene.site("vps.example.net")
    scene.at(office, "office", site, "run")
    scene.at(home, "home", site, "run", "doctor")


def only_ipv6_broken(scene: NetworkScene) -> None:
    router = scene.internet.router()
    home = scene.internet.host(router)
    scene.drops(router, "meta nfproto ipv6")
    scene.at(home, "home", scene.site(scene.internet.vps.address6), "run", "doctor")


def rate_limit(scene: NetworkScene) -> None:
    """The provider drops what is above a few datagrams a second."""
    router = scene.internet.router()
    home, office = scene.internet.host(router), scene.internet.host(scene.internet.router())
    scene.drops(office, "meta nfproto ipv6")
    own_path: Settings = {"candidates": ["host", "observed"], "forward": FORWARD}
    site = scene.site(mode="keep", keepalive="200ms", **own_path)
    scene.at(office, "office", site, "run")
    scene.at(home, "home", site, "run")
    run = scene.processes["run", "home"]
    assert run.wait_for(lambda line: "linked" in line, READY), run.transcript
    control = scene.internet.vps.address  # which has to answer the doctor
    scene.drops(
        router,
        f"ip saddr != {control} ip daddr != {control} meta l4proto udp "
        f"limit rate over {LIMIT}/second burst 1 packets",
    )
    time.sleep(LIMITED)
    scene.at(home, "home", site, "doctor")


PROVOKED: dict[str, Callable[[NetworkScene], None]] = {
    "one direction": one_direction,
    "wrong control name": wrong_control_name,
    "dead name server": dead_name_server,
    "port of WireGuard": port_of_wireguard,
    "UDP blocked": udp_blocked,
    "UDP and TLS blocked": udp_and_tls_blocked,
    "port dropped": port_dropped,
    "symmetric NAT": symmetric_nat,
    "double NAT": double_nat,
    "control behind translation": control_behind_translation,
    "VPN route": vpn_route,
    "IPv6 broken": ipv6_broken,
    "only IPv6, broken": only_ipv6_broken,
    "rate limit": rate_limit,
}


def scenes(lab: Lab, folder: Path, cleanup: ExitStack, names: list[str]) -> dict[str, NetworkScene]:
    """One for each fault, with a pair of its own."""
    pairs = {name: f"p{number}" for number, name in enumerate(names)}
    internet = Internet(lab, folder, cleanup, list(pairs.values()))
    return {name: NetworkScene(internet, pair) for name, pair in pairs.items()}

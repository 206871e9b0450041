"""The faults that need no network: each as a folder with a site file, and processes."""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from netpunch.config.secrets import Secret, format_key
from netpunch.wire.keys import control_key
from tests.e2e.harness import free_port
from tests.e2e.test_clock import CLOCK_THAT_IS_SET
from tests.faults.bench import NETPUNCH, Scene

READY = 30.0
"""Seconds for a control to start, on the slowest machine."""
YEAR = 365 * 86400
SECRET = bytes(range(32))

OTHER_VERSION = """
import netpunch.wire.envelope as envelope
envelope.VERSION = 0xF4
envelope.PREFIXES = [bytes((0xF4, kind)) for kind in range(256)]
from netpunch.cli import main
raise SystemExit(main())
"""
"""A netpunch of another version: all its datagrams begin with another byte."""

Settings = dict[str, Any]


class LoopbackScene(Scene):
    """A pair `p` between `home` and `office`, with control on `vps`; each host may have a file of
    its own."""

    port = 0

    def site(self, name: str = "site", pair: str = "p", **keys: Any) -> Path:
        """Writes NAME.yaml; `keys` are those of the pair, `control` of control."""
        self.port = self.port or free_port()
        address = f"127.0.0.1:{self.port}"
        control = {"node": "vps", "address": address, "listen": address}
        control |= keys.pop("control", {})
        ends: Settings = {
            "a": {"node": "home", "local": "127.0.0.1:0"},
            "b": {"node": "office", "local": "127.0.0.1:0"},
        }
        for end in ends:
            ends[end] |= keys.pop(end, {})
        site: Settings = {"version": 1, "control": control, "pairs": {pair: keys | ends}}
        if not {"secret_file", "secret"} & keys.keys():
            self.key("p.key")
            site["pairs"][pair]["secret_file"] = "p.key"
        path = self.folder / f"{name}.yaml"
        path.write_text(json.dumps(site))
        return path

    def key(self, name: str, secret: Secret = Secret("pair", SECRET), mode: int = 0o600) -> None:  # noqa: B008
        path = self.folder / name
        path.touch(mode=0o600)
        path.write_text(format_key(secret) + "\n")
        path.chmod(mode)

    def control(self, pair: str = "p", **how: Any) -> None:
        """Runs control, with the key that it should have. A file of its own, as its key has."""
        self.key("control.key", Secret("control", control_key(SECRET, pair)))
        self.run_control(self.site("control", pair, secret_file="control.key"), **how)

    def run_control(self, site: Path, **how: Any) -> None:
        control = self.start("run", "vps", site, **how)
        assert control.wait_for(lambda line: "listening on" in line, READY), control.transcript


def wrong_key(scene: LoopbackScene) -> None:
    scene.control()
    scene.key("wrong.key", Secret("pair", bytes(32)))
    other = scene.site("home", secret_file="wrong.key")
    scene.start("run", "home", other)
    scene.start("doctor", "home", other)


def controls_key(scene: LoopbackScene) -> None:
    scene.key("p.key", Secret("control", control_key(SECRET, "p")))
    site = scene.site(secret_file="p.key")
    scene.start("run", "home", site)
    scene.start("doctor", "home", site)


def closed_port(scene: LoopbackScene) -> None:
    site = scene.site()
    scene.start("run", "home", site)
    scene.start("doctor", "home", site)


def pair_names_differ(scene: LoopbackScene) -> None:
    scene.control()
    other = scene.site("home", pair="q")
    scene.start("run", "home", other)
    scene.start("doctor", "home", other)


def both_ends_a(scene: LoopbackScene) -> None:
    site = scene.site()
    scene.control()
    scene.start("run", "home", site)
    swapped = scene.site("office", a={"node": "office"}, b={"node": "home"})
    scene.start("run", "office", swapped)


def node_name(scene: LoopbackScene) -> None:
    site = scene.site()
    scene.start("run", "nobody", site)
    scene.start("doctor", "nobody", site)


def missing_capability(scene: LoopbackScene) -> None:
    scene.control()
    port = free_port()
    vpn = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    scene.cleanup.callback(vpn.close)
    vpn.bind(("127.0.0.1", port))
    local = f"127.0.0.1:{port}"
    site = scene.site(mode="keep", a={"local": local, "share": True}, env_file="e")
    without = ("setpriv", "--bounding-set=-net_raw", "--inh-caps=-net_raw", *NETPUNCH)
    scene.start("run", "home", site, netpunch=without)
    scene.start("doctor", "home", site, netpunch=without)


def hook(scene: LoopbackScene) -> None:
    scene.control()
    (scene.folder / "hook").write_text("#!/bin/sh\n")
    site = scene.site(hooks={"up": ["./hook"]})
    scene.start("run", "home", site)
    scene.start("doctor", "home", site)


def env_folder(scene: LoopbackScene) -> None:
    scene.control()
    site = scene.site(env_file="missing/{pair}.env")
    scene.start("run", "home", site)
    scene.start("doctor", "home", site)


def file_permissions(scene: LoopbackScene) -> None:
    scene.key("p.key", mode=0o644)
    site = scene.site(secret_file="p.key")
    scene.start("run", "home", site)
    scene.start("doctor", "home", site)


def unreadable_key(scene: LoopbackScene) -> None:
    site = scene.site()
    (scene.folder / "p.key").chmod(0)
    lacking = ("setpriv", "--bounding-set=-all", "--inh-caps=-all", *NETPUNCH)
    scene.start("run", "home", site, netpunch=lacking)
    scene.start("doctor", "home", site, netpunch=lacking)


def clock(scene: LoopbackScene) -> None:
    (scene.folder / "offset").write_text(str(YEAR))
    text = CLOCK_THAT_IS_SET.format(offset=str(scene.folder / "offset"))
    (scene.folder / "sitecustomize.py").write_text(text)
    site = scene.site()
    scene.control()
    scene.start("run", "home", site, env={"PYTHONPATH": str(scene.folder)})
    scene.start("run", "office", site)


def wrong_protocol(scene: LoopbackScene) -> None:
    scene.control()
    other = scene.site("home", protocol="classic", slots="c-d")
    scene.start("run", "home", other)
    scene.start("doctor", "home", other)


def classic_control(scene: LoopbackScene) -> None:
    scene.run_control(scene.site(protocol="classic", slots="c-d"))
    other = scene.site("home")
    scene.start("run", "home", other)
    scene.start("doctor", "home", other)


def version_of_control(scene: LoopbackScene) -> None:
    site = scene.site()
    scene.control(netpunch=(sys.executable, "-c", OTHER_VERSION))
    scene.start("run", "home", site)
    scene.start("doctor", "home", site)


def disk_full(scene: LoopbackScene) -> None:
    site = scene.site(env_file="full/{pair}.env")
    full = scene.folder / "full"
    full.mkdir()
    fill = f"mount -t tmpfs -o size=4k full {full} && head -c 4096 /dev/zero > {full}/it; exec "
    within = ("unshare", "-m", "sh", "-c", f'{fill} "$@"', "sh", *NETPUNCH)
    scene.control()
    scene.start("run", "home", site, netpunch=within)
    scene.start("run", "office", scene.site("office"))
    scene.start("doctor", "home", site, netpunch=within)


PROVOKED: dict[str, Callable[[LoopbackScene], None]] = {
    "wrong key": wrong_key,
    "control's key": controls_key,
    "closed port": closed_port,
    "pair names differ": pair_names_differ,
    "both ends a": both_ends_a,
    "node name": node_name,
    "missing capability": missing_capability,
    "hook": hook,
    "env folder": env_folder,
    "file permissions": file_permissions,
    "unreadable key": unreadable_key,
    "clock": clock,
    "wrong protocol": wrong_protocol,
    "classic control": classic_control,
    "version of control": version_of_control,
    "disk full": disk_full,
}
NEEDS_ROOT = {"missing capability", "unreadable key", "disk full"} if os.geteuid() else set()

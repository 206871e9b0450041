"""Set-up of real OpenVPN and WireGuard, by the files in contrib/ that users start from."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import ClassVar

from tests.lab import wg
from tests.lab.vpn_site import VpnSite

CONTRIB = Path(__file__).parents[2] / "contrib"
HOOKS = CONTRIB / "hooks"
PROGRAMS = ("openvpn", "openssl", "wg", "wg-quick", "ping", "conntrack", "awk")
WIREGUARD_MODULE = Path("/sys/module/wireguard")
WIREGUARD_SOCKETS = Path("/run/wireguard")
COMMAND_SECONDS = 20


def missing() -> str:
    """What this machine lacks for the VPNs; empty if nothing."""
    for program in PROGRAMS:
        if shutil.which(program) is None:
            return program
    if not WIREGUARD_MODULE.exists() and shutil.which("wireguard-go") is None:
        return "wireguard-go, or WireGuard in the kernel"
    try:
        os.close(os.open("/dev/net/tun", os.O_RDWR))
    except OSError as error:
        return f"/dev/net/tun: {error.strerror}"
    return ""


class OpenVpn:
    """Keys, certificates and configurations of both ends of one pair, in the nodes' folders."""

    ADDRESSES: ClassVar = {"home": "10.8.0.1", "office": "10.8.0.2"}
    """As the examples say."""
    COMMAND = re.compile(r"^#     (command: .+)$", re.MULTILINE)

    def __init__(self, site: VpnSite, pair: str) -> None:
        fingerprints = {node: _new_identity(site.folder(node)) for node in ("home", "office")}
        for node, partner, template in (
            ("home", "office", "openvpn-a.conf"),
            ("office", "home", "openvpn-b.conf"),
        ):
            text = (CONTRIB / template).read_text()
            text = _filled(text, "PEER-FINGERPRINT", fingerprints[partner])
            (site.folder(node) / f"{pair}.conf").write_text(text)

    @classmethod
    def documented_command(cls) -> str:
        """The site file's `command`, from the notes of the example."""
        match = cls.COMMAND.search((CONTRIB / "openvpn-a.conf").read_text())
        assert match is not None
        return match[1]


class WireGuard:
    """An interface on both hosts, made by wg-quick: in the kernel, or else by wireguard-go.

    Its names differ, as wireguard-go's sockets lie outside of network namespaces."""

    PORT = 5001
    ADDRESSES: ClassVar = {"home": "10.9.0.1", "office": "10.9.0.2"}
    INTERFACES: ClassVar = {"home": f"np{os.getpid()}a", "office": f"np{os.getpid()}b"}

    def __init__(self, site: VpnSite, cleanup: ExitStack) -> None:
        self._hosts = {node: site.hosts[node] for node in self.INTERFACES}
        cleanup.callback(self._close)
        keys = {node: wg.private_key() for node in self.INTERFACES}
        template = (CONTRIB / "wireguard.conf").read_text()
        for node, partner in (("home", "office"), ("office", "home")):
            text = _filled(template, "PEER-PUBLIC-KEY", wg.public_key(keys[partner]))
            text = _filled(text, "PRIVATE-KEY", keys[node])
            text = _filled(text, "10.9.0.1/24", f"{self.ADDRESSES[node]}/24")
            text = _filled(text, "10.9.0.2/32", f"{self.ADDRESSES[partner]}/32")
            text = _filled(text, "ListenPort = 51820", f"ListenPort = {self.PORT}")
            file = site.folder(node) / f"{self.INTERFACES[node]}.conf"
            file.write_text(text)
            file.chmod(0o600)
            self._hosts[node].namespace.run("wg-quick", "up", str(file))

    def show(self, node: str, what: str) -> str:
        """`wg show` of a node's interface, what concerns the peer without its key."""
        shown = self._hosts[node].namespace.run("wg", "show", self.INTERFACES[node], what)
        return shown.split()[-1]

    def remove(self, node: str) -> None:
        """Remove a node's interface, with what wireguard-go leaves outside of its namespace."""
        interface = self.INTERFACES[node]
        with suppress(RuntimeError):  # it is gone, or was never there
            self._hosts[node].namespace.configure(f"link delete {interface}")
        (WIREGUARD_SOCKETS / f"{interface}.sock").unlink(missing_ok=True)

    def _close(self) -> None:
        for node in self.INTERFACES:
            self.remove(node)


def _new_identity(folder: Path) -> str:
    """Make a key and a certificate; returns the certificate's fingerprint."""
    _openssl(
        folder,
        *("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:secp384r1", "-nodes"),
        *("-days", "1", "-subj", f"/CN={folder.name}", "-keyout", "vpn.key", "-out", "vpn.crt"),
    )
    shown = _openssl(folder, "x509", "-in", "vpn.crt", "-noout", "-fingerprint", "-sha256")
    return shown.strip().partition("=")[2]


def _openssl(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["openssl", *arguments],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def _filled(text: str, placeholder: str, value: str) -> str:
    assert text.count(placeholder) == 1, placeholder
    return text.replace(placeholder, value)

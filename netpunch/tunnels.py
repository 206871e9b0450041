"""Which of this host's interfaces are VPN tunnels, according to Linux's sysfs; elsewhere none."""

from __future__ import annotations

from pathlib import Path

INTERFACES = Path("/sys/class/net")
IFF_TUN = 0x0001
"""linux/if_tun.h: a device for packets, as VPNs use. One for frames (tap) may be the uplink of a
container."""
TUNNEL_TYPES = ("wireguard", "ovpn", "ovpn-dco")
"""DEVTYPE of the interfaces of the kernel's own VPNs."""


def is_tunnel(interface: str) -> bool:
    """Whether the interface is WireGuard's, OpenVPN's or any tun device."""
    directory = INTERFACES / interface
    try:
        return bool(int((directory / "tun_flags").read_text("ascii"), 16) & IFF_TUN)
    except (OSError, ValueError):
        pass  # not a device of the tun driver
    try:
        described = (directory / "uevent").read_text("ascii").splitlines()
    except (OSError, ValueError):
        return False
    return any(f"DEVTYPE={kind}" in described for kind in TUNNEL_TYPES)


def has_tunnel() -> bool:
    """Whether this host has any tunnel."""
    try:
        names = [each.name for each in INTERFACES.iterdir()]
    except OSError:
        return False
    return any(map(is_tunnel, names))

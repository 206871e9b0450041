"""Which of this host's interfaces are tunnels of VPNs, as Linux's sysfs tells; elsewhere none."""

from __future__ import annotations

from pathlib import Path

INTERFACES = Path("/sys/class/net")
IFF_TUN = 0x0001
"""Of linux/if_tun.h: packets, as VPNs use. With frames (a tap) it may be a container's uplink."""
TUNNEL_TYPES = ("wireguard", "ovpn", "ovpn-dco")
"""The DEVTYPE of interfaces that the kernel's own VPNs have."""


def is_tunnel(interface: str) -> bool:
    """Whether it is a VPN's: WireGuard's, OpenVPN's or any tun device."""
    directory = INTERFACES / interface
    try:
        return bool(int((directory / "tun_flags").read_text("ascii"), 16) & IFF_TUN)
    except (OSError, ValueError):
        pass  # it is none of the tun driver's
    try:
        described = (directory / "uevent").read_text("ascii").splitlines()
    except (OSError, ValueError):
        return False
    return any(f"DEVTYPE={kind}" in described for kind in TUNNEL_TYPES)


def has_tunnel() -> bool:
    """Whether this host has a tunnel at all."""
    try:
        names = [each.name for each in INTERFACES.iterdir()]
    except OSError:
        return False
    return any(map(is_tunnel, names))

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
    described = _described(interface)
    return any(f"DEVTYPE={kind}" in described for kind in TUNNEL_TYPES)


def has_tunnel() -> bool:
    """Whether this host has any tunnel."""
    return any(map(is_tunnel, _interfaces()))


def wireguard_interfaces() -> list[str]:
    """Those of the kernel's WireGuard."""
    return [name for name in _interfaces() if "DEVTYPE=wireguard" in _described(name)]


def _interfaces() -> list[str]:
    try:
        return sorted(each.name for each in INTERFACES.iterdir())
    except OSError:
        return []


def _described(interface: str) -> list[str]:
    """The lines of what sysfs says of an interface; none if it is gone."""
    try:
        return (INTERFACES / interface / "uevent").read_text("ascii").splitlines()
    except (OSError, ValueError):
        return []

"""What `init` and `join` have in common: the files of a new site on one host, and what to do next.

`init` invites itself, so to speak: both write what an invitation says."""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from netpunch.cli.new_files import SECRET_FILE_MODE, NewFile, write_new_files
from netpunch.cli.streams import write_line
from netpunch.errors import UsageError

if TYPE_CHECKING:
    from netpunch.config.blueprint import Blueprint
    from netpunch.config.invitation import Invitation
    from netpunch.core.settings import EndName

SYSTEM_FOLDER = Path("/etc/netpunch")
"""Where the units in contrib/ look for site file and keys."""
SYSTEM_PROGRAMS = ("/usr/local/bin", "/usr/bin")
"""Where systemd finds netpunch; it must not lie below /home or /root, which the units hide."""
RUNNING_SYSTEMD = Path("/run/systemd/system")
"""sd_booted(3)"""
UNIT_FOLDERS = (Path("/etc/systemd/system"), Path("/usr/lib/systemd/system"))
"""Where units are that the host's owner and that packages have installed."""
SITE_FILE = "site.yaml"
SITE_FILE_MODE = 0o644
HOOK_MODE = 0o755


def add_folder(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-o",
        metavar="DIR",
        dest="folder",
        type=Path,
        help=f"the folder to write to; default: {SYSTEM_FOLDER} for root, else the current one",
    )


def folder_of(options: argparse.Namespace) -> Path:
    """The folder that is written to, absolute: what is printed can be copied to any shell."""
    if options.folder is not None:
        return Path(options.folder).absolute()
    return SYSTEM_FOLDER if os.geteuid() == 0 else Path.cwd()


def set_up(invitation: Invitation, folder: Path) -> int:
    """Write the files of this host, say so, and check them. Returns the exit code of the check.

    Raises OutputError, having left nothing behind."""
    from netpunch.cli.check import check

    files = [file for file in files_of(invitation) if not _is_packaged(folder / file.path)]
    write_new_files(folder, files)
    site, role = invitation.site, invitation.role
    part = "control" if role == "control" else f"end {role}"
    write_line(f"{invitation.node} is {part} of {site.pair}. Wrote to {folder}:")
    width = max(len(file.path) for file in files)
    for file in files:
        write_line(f"  {file.path:{width}}  {file.about}")
    found = argparse.Namespace(node=None, credentials=None, show=False)
    return check(str(folder / SITE_FILE), found, host=False)  # the VPN comes up later


def files_of(invitation: Invitation) -> list[NewFile]:
    """All files of a host."""
    from netpunch.config.blueprint import site_text
    from netpunch.config.secrets import Secret, format_key

    site, role = invitation.site, invitation.role
    kind, about = ("control", "control's key") if role == "control" else ("pair", "the pair's key")
    key = format_key(Secret("control" if kind == "control" else "pair", invitation.key))
    own_node = None if is_this_host(invitation.node) else invitation.node
    same = "the same on all hosts" + (", but for `node`" if own_node else "")
    return [
        NewFile(SITE_FILE, site_text(site, own_node), SITE_FILE_MODE, f"the site file, {same}"),
        NewFile(site.key_file, f"{key}\n", SECRET_FILE_MODE, f"{about}, secret"),
        *_files_of_vpn(invitation),
    ]


def _is_packaged(path: Path) -> bool:
    """Whether a package has a hook in this place, which leads to its own folder."""
    return path.is_symlink() and path.resolve().is_relative_to(contrib().resolve())


def _files_of_vpn(invitation: Invitation) -> list[NewFile]:
    from netpunch.config.blueprint import HOOK
    from netpunch.config.vpn_files import openvpn_conf, wireguard_conf

    site, role, identity = invitation.site, invitation.role, invitation.identity
    if role == "control" or identity is None:
        return []
    if site.vpn == "openvpn":
        example = (contrib() / f"openvpn-{role}.conf").read_text("utf-8")
        try:
            text = openvpn_conf(site, role, identity, example)
        except ValueError:
            raise UsageError("this invitation has no valid certificate: make a new one") from None
        about = "OpenVPN, with its private key, secret"
        return [NewFile(f"{site.pair}.conf", text, SECRET_FILE_MODE, about)]
    text = wireguard_conf(site, role, identity)
    about = "WireGuard, with its private key, secret"
    files = [NewFile(f"{site.interface}.conf", text, SECRET_FILE_MODE, about)]
    if site.vpn == "wireguard-share":
        hook = (contrib() / HOOK).read_text("utf-8")
        partner = site.node_of("b" if role == "a" else "a")
        files.append(NewFile(HOOK, hook, HOOK_MODE, f"tells WireGuard where {partner} is"))
    return files


def is_this_host(node: str) -> bool:
    """Whether `netpunch run` takes this host for that node by its name alone."""
    from socket import gethostname

    name = gethostname().lower()
    return node in (name, name.partition(".")[0])


def contrib() -> Path:
    """The folder of units and hooks: in the installed package, or beside it in a checkout."""
    import netpunch

    package = Path(netpunch.__file__).parent
    installed = package / "contrib"
    return installed if installed.is_dir() else package.parent / "contrib"


# What to do next.


def next_steps(invitation: Invitation, folder: Path, heading: str) -> str:
    """What to do on this host, below a heading; each command is a line that begins with spaces."""
    site, role = invitation.site, invitation.role
    commands = [_run(invitation, folder)]
    if role == "control":
        heading += f", with UDP {ports_of(site)} let in through the firewall"
    else:
        commands[:0] = [*_lacking(site), *_start_wireguard(site, folder)]
    text = "\n".join([f"{heading}:\n", *commands, ""])
    if role != "control" and site.vpn != "none":
        other: EndName = "b" if role == "a" else "a"
        text += f"\n   and, once it is linked with {site.node_of(other)}, in another terminal:\n\n"
        text += f"   ping {site.address_of(other)}\n"
    if role != "control":
        text += f"\n   If it does not link, this says why:\n\n{_netpunch('doctor', folder)}\n"
    if folder == SYSTEM_FOLDER and RUNNING_SYSTEMD.is_dir():
        text += "\n".join(["", *service_steps(invitation), ""])
    return text


def _start_wireguard(site: Blueprint, folder: Path) -> list[str]:
    path = shlex.quote(f"{folder / site.interface}.conf")
    return [f"   wg-quick up {path}"] if site.has_wireguard else []


def ports_of(site: Blueprint) -> str:
    """Those that control's firewall has to let in."""
    return f"{site.control.port} and {site.control.port + 1}"


def _run(invitation: Invitation, folder: Path) -> str:
    """WireGuard's and OpenVPN's set-up need privileges, unless netpunch only relays to them."""
    privileged = invitation.role != "control" and invitation.site.vpn in (
        "wireguard-share",
        "openvpn",
    )
    return _netpunch("run", folder, sudo=privileged and os.geteuid() != 0)


def _netpunch(command: str, folder: Path, *, sudo: bool = False) -> str:
    """The command for the site file in that folder. sudo has a PATH of its own."""
    program = f"{shlex.quote(sys.executable)} -m netpunch"
    if found := shutil.which("netpunch"):
        program = shlex.quote(found) if sudo else "netpunch"
    return f"   {'sudo ' if sudo else ''}{program} {command} {shlex.quote(str(folder / SITE_FILE))}"


def _lacking(site: Blueprint) -> list[str]:
    """What has to be installed first."""
    needed, package = ("wg-quick", "wireguard-tools") if site.has_wireguard else ("", "")
    if site.vpn == "openvpn":
        needed = package = "openvpn"
    if not needed or shutil.which(needed):
        return []
    return [f"   apt install {package}"]


def service_steps(invitation: Invitation) -> list[str]:
    """The commands that make it a service instead, as the heads of the units explain them."""
    site, tunnel = invitation.site, []
    name = "netpunch-control" if invitation.role == "control" else "netpunch"
    if invitation.role != "control" and site.has_wireguard:
        conf = f"{SYSTEM_FOLDER}/{site.interface}.conf"
        tunnel = [
            f"   install -D -m 0600 -t /etc/wireguard {conf}",
            f"   systemctl enable --now wg-quick@{site.interface}",
        ]
    unit = _unit_steps(name)
    load = "systemctl daemon-reload && " if unit else ""
    return [
        "   As a service, from now on and at each boot, instead of the commands above:\n",
        *unit,
        *tunnel,
        f"   {load}systemctl enable --now {name}",
    ]


def _unit_steps(name: str) -> list[str]:
    """The commands that install a unit; none where it is there, as a package brings it."""
    if any((folder / f"{name}.service").exists() for folder in UNIT_FOLDERS):
        return []
    units = shlex.quote(str(contrib()))
    return [
        *_program_for_systemd(),
        f"   install -D -m 0644 {units}/netpunch.sysusers /etc/sysusers.d/netpunch.conf",
        "   systemd-sysusers",
        f"   install -m 0644 -t {UNIT_FOLDERS[0]} {units}/{name}.service",
    ]


def _program_for_systemd() -> list[str]:
    found = shutil.which("netpunch") or ""
    if os.path.dirname(found) in SYSTEM_PROGRAMS:  # noqa: PTH120 - a folder's name only
        return []
    return [
        "   (netpunch has to be in /usr/local/bin, and not below /home or /root: docs/install.md)",
    ]

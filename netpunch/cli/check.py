"""`netpunch check FILE...`: validates site files without contacting any control."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from netpunch.cli.arguments import Parser
from netpunch.cli.streams import write_error, write_line
from netpunch.errors import ConfigurationError, NetpunchError, combined_exit_code

if TYPE_CHECKING:
    from netpunch.address import Address
    from netpunch.config.document.problems import Problem
    from netpunch.config.model import ControlConfig, EndConfig, Pair, Part, SecretSource, Site
    from netpunch.config.secrets import Role
    from netpunch.config.values import HostPort

DESCRIPTION = """\
Validate site files, without contacting any control: report all errors at once,
each with its file, line and column. Warn about addresses and interfaces that
this host does not have, about routes to a control that lead into a VPN, about
links that a relay may read, and about ports to be shared that no program has.

Only this node's secrets are read; a `credential` among them only within its
systemd service, or with --credentials.
"""
EPILOG = """\
examples:
  netpunch check site.yaml
  netpunch check site.yaml --node office --show
  netpunch check --credentials /etc/netpunch/keys /etc/netpunch/site.yaml
"""

MAX_NAMES = 5
"""Credentials named in one warning: enough to recognise them."""

MAX_ENDS = 12
"""Ends named in the summary: two lines of a terminal. `--show` has all."""

MAX_SECRETS = 10
"""Secrets that cannot be used, as reported in full: the others most likely lack the same."""

LOOKUP_SECONDS = 2.0
"""For a control's name, on a host with a tunnel: if it is not resolved by then, its route is not
checked."""


def parse(prog: str, arguments: list[str]) -> argparse.Namespace:
    parser = Parser(prog, DESCRIPTION, EPILOG)
    add = parser.add_argument
    add("files", metavar="FILE", nargs="+", help="a site file")
    add("--show", action="store_true", help="print the configuration in effect, without secrets")
    add("--node", metavar="N", help="check what node N would run")
    add(
        "--credentials",
        metavar="DIR",
        type=Path,
        help="the folder that the unit's LoadCredential= names",
    )
    return parser.parse_args(arguments)


def execute(options: argparse.Namespace) -> int:
    return combined_exit_code([check(file, options) for file in options.files])


def check(file: str, options: argparse.Namespace, *, host: bool = True) -> int:
    """Check one file and write its errors to standard error. Returns its exit code. Without `host`
    nothing is said about what this host does not have yet."""
    from netpunch.config.loading import load

    try:
        site = load(Path(file))
        for warning in site.warnings:
            write_error(warning)
        part = select_part(site, options.node)
        codes = [check_secrets(site, part, options.credentials), *check_certificates(part)]
        code = combined_exit_code(codes)
    except NetpunchError as error:
        write_error(str(error))
        return error.exit_code
    if code == 0:
        from netpunch.config.document.problems import gathered
        from netpunch.config.remarks import crowded_relays, readable_links, unused_links

        for remark in (
            *gathered(unused_links(site, part.ends)),
            *gathered(readable_links(site, part.ends)),
            *gathered(crowded_relays(site, part.ends)),
            *(host_warnings(site, part) if host else ()),
        ):
            write_error(remark)
        report(site, part, show=options.show)
    return code


def select_part(site: Site, node: str | None) -> Part:
    """Raises ConfigurationError if no part is for this node, though the file is valid."""
    from socket import gethostname

    from netpunch.config.document.problems import SiteError
    from netpunch.config.loading import select

    try:
        return select(site, node, gethostname(), os.environ.get("NETPUNCH_NODE"))
    except SiteError:
        raise
    except ConfigurationError as error:
        raise ConfigurationError(f"{error}\n{site.path}: valid otherwise") from None


def check_secrets(site: Site, part: Part, credentials: Path | None) -> int:
    """Read the secrets that this node needs and that can be read here. Report each problem once:
    a control and an end may share a secret. Returns the exit code."""
    from netpunch.config.document.problems import gathered
    from netpunch.config.secrets import read_secrets, rotation_note

    warnings: list[Problem] = []
    problems: dict[str, int] = {}
    unread: list[str] = []
    can_open_credentials = credentials or os.environ.get("CREDENTIALS_DIRECTORY")
    for owner, pair, role in secrets_needed(site, part):
        if owner.secret.kind == "credential" and not can_open_credentials:
            unread += [each.path for each in owner.secret.all]
            continue
        try:
            secrets = read_secrets(
                owner.secret,
                owner.protocol,
                site=site,
                pair=pair,
                role=role,
                environ=os.environ,
                credentials=credentials,
            )
            warnings += (warning for each in secrets for warning in each.warnings)
            warnings += rotation_note(owner.secret, site, pair)
        except NetpunchError as error:
            problems[str(error)] = error.exit_code
    if unread:
        write_error(_credentials_not_checked(site, list(dict.fromkeys(unread))))
    shown = list(problems)[:MAX_SECRETS]
    for problem in (*gathered(warnings), *shown):
        write_error(problem)
    if more := len(problems) - len(shown):
        write_error(f"... and {count(more, 'secret')} more that cannot be used")
    return combined_exit_code(list(problems.values()))


def check_certificates(part: Part) -> Iterator[int]:
    """Read the certificates of this node's controls, and report what is wrong with them. Yields
    exit codes."""
    for control in part.controls:
        if control.tls_certificate is None:
            continue
        from netpunch.net.tls_certificate import server_context  # few controls have one

        try:
            server_context(control.tls_certificate, control.tls_key)
        except NetpunchError as error:
            write_error(f"control {control.name}: {error}")
            yield error.exit_code


def _credentials_not_checked(site: Site, names: list[str]) -> str:
    shown = ", ".join(names[:MAX_NAMES]) + (", ..." if len(names) > MAX_NAMES else "")
    noun = count(len(names), "credential")
    return (
        f"{site.path}: warning: {noun} not checked ({shown}): only the systemd service can open "
        "them; `--credentials DIR` checks the files in the folder that its LoadCredential= names"
    )


def secrets_needed(site: Site, part: Part) -> Iterator[tuple[EndConfig | Pair, str, Role]]:
    """Who needs a secret, the pair's name, and in which role; of the pairs of a mesh, which share
    one, the first. A control that shares its node with an end of the same pair or mesh uses the
    end's key."""
    from netpunch.config.loading import owner_of, owners_of, pairs_served

    own = owners_of(part.ends)
    seen: set[tuple[SecretSource, Role]] = set()
    needed: list[tuple[EndConfig | Pair, str, Role]] = [(end, end.pair, "end") for end in part.ends]
    for control in part.controls:
        for pair in pairs_served(site, control):
            needed.append((pair, pair.name, "end" if owner_of(pair) in own else "control"))
    for owner, pair_name, role in needed:
        if owner.secret.mesh and (owner.secret, role) in seen:
            continue
        seen.add((owner.secret, role))
        yield owner, pair_name, role


def host_warnings(site: Site, part: Part) -> Iterator[str]:
    """A line for each thing in `part` that does not fit this host now."""
    from netpunch.config.values import HostPort
    from netpunch.tunnels import has_tunnel

    tunnelled = has_tunnel()
    addresses = {control.name: control.address for control in site.controls}
    for control in part.controls:
        tls = [control.tls] if control.tls else []
        problems = _missing_addresses(*control.listen, *control.observe, *control.relay, *tls)
        yield from _warnings(site, control, f"control {control.name}", problems)
    for end in part.ends:
        local = HostPort(*end.settings.local)
        own = (local, end.forward.listen) if end.forward else (local,)
        problems = [*_missing_addresses(*own), _missing_interface(end)]
        if tunnelled:
            problems += [_tunnel(end, addresses[name]) for name in end.controls]
        yield from _warnings(site, end, end.path, problems)
    ports = {end.settings.local: end for end in reversed(part.ends) if end.settings.share}
    for end in reversed(ports.values()):
        yield from _warnings(site, end, end.path, _sharing(end))


def _sharing(end: EndConfig) -> Iterator[str]:
    """What is amiss with a port that is shared, whatever the number of ends that do."""
    from netpunch.net.port_owner import owned_families
    from netpunch.net.raw_socket import RawSocket
    from netpunch.net.sockets import WILDCARDS, options_of

    host, port = end.settings.local
    families = owned_families(host, port)
    if families is not None and not families:
        yield f"no program of this host has UDP port {port} now: `share` waits until one has"
    try:
        RawSocket(host or next(iter(WILDCARDS.values())), port, options_of(end.settings)).close()
    except NetpunchError as error:
        yield f"as this user netpunch could not share the port: {error}"


def _warnings(
    site: Site, part: ControlConfig | EndConfig, key: str, problems: Iterable[str]
) -> Iterator[str]:
    line, column, file = part.position
    place = f"{file or site.path}:{line}:{column}"
    return (f"{place}: {key}: warning: {each}" for each in problems if each)


def _missing_addresses(*local: HostPort) -> list[str]:
    """Not an error: the address may appear later, as at boot, and `run` waits for it."""
    hosts = dict.fromkeys(each.host for each in local if each.host)
    return [
        f"this host does not have the address {host} now: `ip address` shows those that it has"
        for host in hosts
        if _is_missing(host)
    ]


def _is_missing(host: str) -> bool:
    import errno
    import socket

    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((host, 0))
    except OSError as error:
        return error.errno == errno.EADDRNOTAVAIL
    return False


def _missing_interface(end: EndConfig) -> str:
    import socket

    interface = end.settings.interface
    try:
        if interface:
            socket.if_nametoindex(interface)
    except OSError:
        return f"this host has no interface {interface} now: `ip link` shows those that it has"
    return ""


def _tunnel(end: EndConfig, control: HostPort) -> str:
    import asyncio  # few hosts have a tunnel and need it

    from netpunch.net.diagnosis import tunnel_towards
    from netpunch.net.sockets import options_of

    options = options_of(end.settings)
    port = end.settings.local[1]
    return tunnel_towards(asyncio.run(_find(control)), port=port, options=options)


async def _find(control: HostPort) -> list[Address]:
    import asyncio

    from netpunch.errors import ControlUnreachableError
    from netpunch.net.resolver import resolve

    try:
        async with asyncio.timeout(LOOKUP_SECONDS):
            return await resolve(control.host, control.port)
    except (ControlUnreachableError, TimeoutError):
        return []


def report(site: Site, part: Part, *, show: bool) -> None:
    """Print one line; with `show` as a comment above the YAML, so that the output stays YAML."""
    files = f" in {count(1 + len(site.included), 'file')}" if site.included else ""
    summary = f"{site.path}: ok, {count(len(site.pairs), 'pair')}{files}, {describe(part)}"
    if not show:
        write_line(summary)
        return
    from netpunch.config.display import show as effective

    write_line(f"---\n# {summary}\n{effective(part)}")


def describe(part: Part) -> str:
    from collections import Counter

    where = "all in one process" if part.node is None else f"this node ({part.node})"
    controls = [f"control {control.name}" for control in part.controls]
    ends = [f"{end.pair}.{end.end}" for end in part.ends if not end.secret.mesh]
    label = "end" if len(ends) == 1 else "ends"
    meshes = Counter(end.secret.mesh for end in part.ends if end.secret.mesh)
    parts = [
        *controls,
        *([f"{label} {_some(ends)}"] if ends else []),
        *(f"{count(number, 'end')} of mesh {mesh}" for mesh, number in meshes.items()),
    ]
    return f"{where}: {', '.join(parts) or 'nothing to run'}"


def _some(names: list[str]) -> str:
    more = f" and {len(names) - MAX_ENDS} more" if len(names) > MAX_ENDS else ""
    return ", ".join(names[:MAX_ENDS]) + more


def count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"

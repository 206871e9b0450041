"""What is allowed in a site, but perhaps a mistake: links that nothing uses, links that others may
read, and more links of one port than a relay can tell apart."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator

from netpunch.config.document.problems import Problem
from netpunch.config.model import EndConfig, Site

# Links that nothing uses.

HELD = (
    "warning: nothing will use this link: netpunch holds it, and relays for no program. Add "
    "`forward`, or a `command` or `check` so that another program gets the port"
)
NOTHING = (
    "warning: nothing will use this link: netpunch releases the port and nothing starts a program "
    "on it, so the check fails and the ends punch again and again. Add `command`, `hooks.up` or, "
    "instead of the check, `forward`"
)
UNTOLD = (
    "warning: nothing tells the program that shares the port where the partner is: add "
    "`hooks: {up: [...]}` (for WireGuard contrib/hooks/wireguard), an `env_file` or `files` that "
    "it reads"
)
FILES = (
    "warning: only a file announces this link: unless a program watches the file (such as a "
    "systemd path unit), the check fails and the ends punch again and again. Otherwise add "
    "`command` or `hooks.up`"
)


def unused_links(site: Site, ends: Iterable[EndConfig]) -> Iterator[Problem]:
    """For ends in mode `keep` whose link no program uses, as far as the file says."""
    for end in ends:
        if end.mode == "keep" and (message := _unused(end)) is not None:
            yield site.problem(end.position, end.path, message)


def certainly_unused(problems: Iterable[Problem]) -> Iterator[Problem]:
    """Without those links that a program outside the file may use."""
    return (problem for problem in problems if problem.message == NOTHING)


def _unused(end: EndConfig) -> str | None:
    if end.settings.share:
        return None if end.hooks.up or end.env_file or end.files else UNTOLD
    if end.holds:
        return None if end.forward else HELD
    if end.command or end.hooks.up:
        return None
    return FILES if end.env_file or end.files else NOTHING


# Links that others may read.


def readable_links(site: Site, ends: Iterable[EndConfig]) -> Iterator[Problem]:
    """For ends whose `forward` may pass through a relay, and is not sealed."""
    relays = {control.name for control in site.controls if control.relay}
    relayed = {
        pair.name for pair in site.pairs if all(end.settings.may_be_relayed for end in pair.ends)
    }
    for end in ends:
        names = [name for name in end.controls if name in relays]
        sealed = end.forward is None or end.forward.sealed
        if not sealed and end.pair in relayed and names:
            yield site.problem(
                end.position,
                end.path,
                "note: if nothing else works, this link passes through the relay of control "
                f"{names[0]}, whose owner can read what `forward` carries, unless the programs "
                "encrypt it, as WireGuard and OpenVPN do. Otherwise set `forward: {sealed: on}` at "
                "both ends, or leave `relay` out of `candidates`",
            )


# Links of one port.


def crowded_relays(site: Site, ends: Iterable[EndConfig]) -> Iterator[Problem]:
    """For ports that more pairs share than a relay has ports: one remark for each."""
    pairs: dict[tuple[str, int, str], list[EndConfig]] = defaultdict(list)
    for end in ends:
        if end.settings.share and end.settings.may_be_relayed:
            for name in end.controls:
                pairs[name, end.settings.local[1], end.node or ""].append(end)
    ports = {control.name: control.relay_ports for control in site.controls if control.relay}
    for (name, local, _), those in pairs.items():
        if name in ports and len(those) > ports[name]:
            yield site.problem(
                those[0].position,
                those[0].path,
                f"note: {len(those)} pairs share port {local}, of which the relay of control "
                f"{name} can carry {ports[name]} at a time, as it has so many ports: set "
                f"`relay_ports` there if more may need it",
            )

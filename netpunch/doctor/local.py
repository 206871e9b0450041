"""What this host has for an end or control: ports, programs, folders, rights, limits."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from netpunch.address import Address, parse_address
from netpunch.config.model import ControlConfig, EndConfig, Part, Site
from netpunch.config.remarks import unused_links
from netpunch.config.schema import OCCASIONS
from netpunch.core.traversal.budget import MOST_SOCKETS
from netpunch.doctor.finding import Finding, fail, first_line, from_error, halves, ok, warn
from netpunch.doctor.host import (
    FIRST_FREE_PORT,
    RECEIVE_BUFFER_LIMIT,
    Unit,
    capabilities,
    descriptor_limit,
    number_in,
)
from netpunch.doctor.outlook import HARD
from netpunch.errors import (
    ConfigurationError,
    HookError,
    NetpunchError,
    NetworkNotReadyError,
    OutputError,
    PermissionsError,
    ResourcesError,
)
from netpunch.mesh import placeholders
from netpunch.net.port_owner import Owner, PortOwners, sockets_at
from netpunch.net.raw_socket import CURE as RAW_CURE
from netpunch.net.sockets import SHOW_OWNER, binder
from netpunch.node.process import find_program
from netpunch.node.publish import env_file_of
from netpunch.output.age import age
from netpunch.reasons import in_words
from netpunch.template import TemplateError, render
from netpunch.wire.card import NatClass

DESCRIPTORS = 64 + MOST_SOCKETS
"""What a process needs whatever it runs: its own files, and sockets against hard NATs."""
DESCRIPTORS_PER_END = 8
"""Sockets of both families, those of a successor and of a local program, and pipes of hooks."""
USUAL_RECEIVE_BUFFER = 1024 * 1024
"""Bytes: with Linux's usual 212,992 a burst of 200 datagrams is lost while a busy core is away."""
SETS_UP_INTERFACES = {"wireguard", "wg", "wg-quick", "ip", "openvpn"}
"""Programs that do; the first is the hook in contrib."""

MUCH_LOST = 0.2
"""Part of the latest pings: what programs notice at once. A single one of few may be lost."""
LOSS_CURE = (
    "either a router or provider limits the rate of UDP, or the line is bad: `ping -i 0.2 {}` "
    "while little is sent tells. If that loses nothing, send less (`MTU`, `tc`), or ask the "
    "provider; else mend the line"
)

MOST_NAMED = 3
"""Ends that the line about the file names."""

Process = Mapping[str, Any]
"""The status of a running process, as its socket sends it."""


def port(end: EndConfig, process: Process | None, owners: PortOwners) -> Finding:
    """Whether the end can have its port: another program's is its, or nobody's, or shared."""
    name, pair = "port", end.pair
    host, number = end.settings.local
    if not number:
        return ok(name, "any free UDP port (`local` names none)", pair)
    where = str(Address(host, number)) if host else f"UDP {number}"
    owner = owners.owner(host, number)
    if end.settings.share:
        return _shared_port(owner, where, pair, number)
    if owner is None:
        return _free_port(end, where)
    if process is not None and owner.pid == process.get("pid"):
        return ok(name, f"{where} is held by the running netpunch", pair)
    if process is not None and _is_up(process, end):
        return ok(name, f"{where} is owned by {owner}, which uses the link", pair)
    if end.hooks.before:
        return ok(name, f"{where} is owned by {owner}; hook `before` has to lend it", pair)
    if end.check:
        return ok(name, f"{where} is owned by {owner}; nothing is done while `check` passes", pair)
    show = SHOW_OWNER.format("u", number, "UDP")
    cure = f"stop it, choose another `local`, or `share: on` (`{show}` shows it)"
    return fail(name, f"{where} is owned by {owner}", cure, pair, blocks=True)


def _free_port(end: EndConfig, where: str) -> Finding:
    """Its address, mark and interface are tried with another port: binding this one could take it
    from a program that is just starting."""
    host, number = end.settings.local
    try:
        for sock in binder(end.settings)(host, 0):
            sock.close()
    except NetpunchError as error:
        what, cure = halves(str(error).replace(f"{Address(host, 0)}:", f"{where}:", 1))
        blocks = not isinstance(error, NetworkNotReadyError)  # `run` waits for these
        return fail("port", what, cure, end.pair, blocks=blocks, code=error.exit_code)
    if sockets_at(host, number) is None:
        cure = SHOW_OWNER.format("u", number, "UDP")
        return warn("port", f"{where}: this system does not say whose it is", cure, end.pair)
    return ok("port", f"{where} is free", end.pair)


def _shared_port(owner: Owner | None, where: str, pair: str, number: int) -> Finding:
    if owner is None:
        cure = f"start the program that shares it (`wg-quick up wg0`), with port {number}"
        return warn("port", f"{where} is nobody's yet", cure, pair)
    return ok("port", f"{where} is owned by {owner}, and shared with it", pair)


def _is_up(process: Process, end: EndConfig) -> bool:
    return any(
        (each.get("pair"), each.get("end"), each.get("state")) == (end.pair, end.end, "up")
        for each in process.get("pairs", ())
    )


def use(site: Site, end: EndConfig) -> Iterator[Finding]:
    """A link that no program uses, as far as the file says."""
    for problem in unused_links(site, [end]):
        what, _, cure = problem.message.removeprefix("warning: ").partition(": ")
        yield warn("use", what, cure, end.pair)


def programs(end: EndConfig) -> Iterator[Finding]:
    """Hooks, command and check: there and executable."""
    argvs = {f"hooks.{name}": getattr(end.hooks, name) for name in OCCASIONS}
    argvs |= {"command": end.command, "check": end.check}
    known = placeholders(end.pair, end.end)
    found: dict[str, list[str]] = {}
    for key, argv in argvs.items():
        if not argv:
            continue
        try:
            name = render(argv[0], known) if key == "command" else argv[0]
            found.setdefault(find_program(name, end.directory), []).append(key)
        except TemplateError:
            yield warn(
                "program", f"{key}: {argv[0]} depends on the link", "look at it then", end.pair
            )
        except HookError as error:
            yield _missing_program(key, error, end.pair)
        except ResourcesError as error:
            yield from_error("program", error, end.pair)
    for path, keys in found.items():
        yield ok("program", f"{path} ({', '.join(keys)})", end.pair)


def _missing_program(key: str, error: HookError, pair: str) -> Finding:
    what, found, cure = str(error).partition("; ")
    cure = cure if found else "install it, or correct the path in the file"
    return fail("program", f"{key}: {what}", cure, pair, blocks=True, code=error.exit_code)


def folders(part: Part, end: EndConfig) -> Iterator[Finding]:
    """Those that files of a link, and the status socket, are written to."""
    paths: dict[str, Path] = {}
    try:
        if (env_file := env_file_of(end)) is not None:
            paths["env_file"] = env_file
    except TemplateError:
        pass  # its name depends on the link
    if part.status is not None:
        paths["status"] = part.status
    if part.metrics_textfile is not None:
        paths["metrics_textfile"] = part.metrics_textfile
    for key, path in paths.items():
        folder = path.parent
        if not folder.is_dir():
            cure = f"`mkdir -p {folder}`, or RuntimeDirectory= in the systemd unit"
            text = f"{key}: there is no folder {folder}"
        elif not os.access(folder, os.W_OK | os.X_OK):
            cure = "`chown` it to the user that runs netpunch, or run this as that user"
            text = f"{key}: this user may not write in {folder}"
        elif _is_full(folder):
            cure = "free some space, or choose another folder, such as below /run"
            text = f"{key}: no space is left in {folder}"
        else:
            yield ok("folder", f"{folder} ({key})", end.pair)
            continue
        yield fail("folder", text, cure, end.pair, code=OutputError.exit_code)


def _is_full(folder: Path) -> bool:
    """Whether this user can write no more there; some file systems do not tell."""
    try:
        found = os.statvfs(folder)
    except OSError:
        return False
    return bool(found.f_blocks and not found.f_bavail) or bool(found.f_files and not found.f_favail)


def rights(end: EndConfig, process: Process | None) -> Iterator[Finding]:
    """Capabilities that the end needs; of the process that runs it, else of this user."""
    needed: dict[str, tuple[str, str]] = {}
    add = "add `AmbientCapabilities={}` to the systemd unit, or run it as root"
    if end.settings.share:
        needed["CAP_NET_RAW"] = ("share", RAW_CURE)
    if end.settings.mark:
        needed["CAP_NET_ADMIN"] = ("mark", add.format("CAP_NET_ADMIN"))
    elif sets_up := _set_up_interfaces(end):
        needed["CAP_NET_ADMIN"] = (sets_up, add.format("CAP_NET_ADMIN"))
    if 0 < end.settings.local[1] < (number_in(FIRST_FREE_PORT) or 0) and not end.settings.share:
        needed["CAP_NET_BIND_SERVICE"] = ("a low port", add.format("CAP_NET_BIND_SERVICE"))
    pid = None if process is None else process.get("pid")
    held = capabilities(pid)
    for capability, (why, cure) in needed.items():
        if held is None:
            text = f"{capability} ({why}): process {pid} does not tell what it may do"
            yield warn("rights", text, "run this as root", end.pair)
        elif capability in held:
            yield ok("rights", f"{capability} ({why})", end.pair)
        elif pid:
            text = f"the running process lacks {capability} ({why})"
            code = PermissionsError.exit_code
            yield fail("rights", text, cure, end.pair, blocks=why == "share", code=code)
        else:
            text = f"this user lacks {capability} ({why})"
            yield warn("rights", text, f"unless another one runs netpunch: {cure}", end.pair)


def _set_up_interfaces(end: EndConfig) -> str:
    """Which hook or command does."""
    argvs = {f"hooks.{name}": getattr(end.hooks, name) for name in OCCASIONS}
    argvs["command"] = end.command
    for key, argv in argvs.items():
        if argv and Path(argv[0]).name in SETS_UP_INTERFACES:
            return f"{key}: {Path(argv[0]).name}"
    return ""


def limits(part: Part, process: Process | None) -> Iterator[Finding]:
    """Descriptors for so many pairs, and the buffer of a control or of a held link."""
    pid = None if process is None else process.get("pid")
    needed = DESCRIPTORS + DESCRIPTORS_PER_END * len(part.ends)
    limit = descriptor_limit(pid)
    pairs = f"{len(part.ends)} pair{'' if len(part.ends) == 1 else 's'} here"
    if limit is not None and limit < needed:
        text = f"{limit} files at once, {pairs} may need {needed}"
        yield warn("limits", text, f"`LimitNOFILE={needed}` in the unit, or `ulimit -n {needed}`")
    elif limit is not None:
        yield ok("limits", f"{limit} files at once, {pairs} may need {needed}")
    if part.controls or any(end.forward for end in part.ends):
        yield from _buffer()


def _buffer() -> Iterator[Finding]:
    allowed = number_in(RECEIVE_BUFFER_LIMIT)
    if allowed is None:
        return
    text = f"the system allows receive buffers of {allowed // 1024} KiB"
    if allowed >= USUAL_RECEIVE_BUFFER:
        yield ok("buffer", text)
    else:
        cure = "for bursts: `sysctl -w net.core.rmem_max=4194304`, in /etc/sysctl.d to keep it"
        yield warn("buffer", text, cure)


def unit(units: Sequence[Unit] | None, processes: Sequence[Process]) -> Iterator[Finding]:
    """What systemd says of netpunch's units."""
    for each in units or ():
        if each.active == "failed":
            cure = f"`journalctl -u {each.name} -n 20` says why"
            yield fail("unit", f"{each.name} has failed", cure)
        elif each.active in ("active", "activating", "reloading"):
            yield ok("unit", f"{each.name} is {each.active}, {each.enabled or 'not enabled'}")
        elif each.enabled == "enabled" and not processes:
            yield warn("unit", f"{each.name} is {each.active}", f"`systemctl start {each.name}`")


def running(site: Site, processes: Sequence[Process]) -> Iterator[Finding]:
    """Which processes run this part of the file."""
    if not processes:
        yield ok("running", "no process that this user may ask runs this part of the file")
    for process in processes:
        text = f"process {process.get('pid')}: {process.get('summary', '')}"
        if refusal := process.get("reload_err"):
            text += f"; its last reload failed: {first_line(str(refusal))}"
            yield warn("running", text, f"`netpunch check {site.path}`")
        else:
            yield ok("running", text)


def state(end: EndConfig, process: Process | None) -> Finding | None:
    """What the running process says of the end; since when it has no link, `status` knows: here
    pairs that lack the same share a line."""
    told = told_of(end, process)
    if told is None or process is None:
        return None
    text = str(told.get("state"))
    if told.get("reason"):
        text += f", {in_words(str(told['reason']))}"
    if told.get("state") == "up":
        text += f", {age(told.get('since'), process.get('ts'))}"
        path = (
            f"{told.get('path')}, {told.get('raddr')}" if told.get("path") else "as its check says"
        )
        if float(told.get("loss") or 0) >= MUCH_LOST:
            text += f": {path}, loses {float(told['loss']):.0%} of its latest pings"
            host = parse_address(str(told["raddr"])).host if told.get("raddr") else "HOST"
            return warn("state", text, LOSS_CURE.format(host), end.pair)
        return ok("state", f"{text}: {path}", end.pair)
    if told.get("reason") == "partner_absent":
        cure = "start the other end; `netpunch doctor` there says what it lacks"
        return warn("state", f"{text}: control answers", cure, end.pair)
    if told.get("state") == "failed" and told.get("err"):
        what, cure = halves(str(told["err"]))
        return warn("state", f"{text}: {what}", cure, end.pair)
    return ok("state", text, end.pair)


def told_of(end: EndConfig, process: Process | None) -> Mapping[str, Any] | None:
    """The end in the status of the process that runs it."""
    pairs: Iterable[Mapping[str, Any]] = () if process is None else process.get("pairs", ())
    return next(
        (each for each in pairs if (each.get("pair"), each.get("end")) == (end.pair, end.end)), None
    )


def runs_control(name: str, process: Process) -> bool:
    """Whether a process runs a control."""
    return any(each.get("control") == name for each in process.get("controls", ()))


def control_ports(
    control: ControlConfig, processes: Sequence[Process], owners: PortOwners
) -> Iterator[Finding]:
    """Whether a control of this node has its ports, or could have them."""
    own = {each.get("pid") for each in processes if runs_control(control.name, each)}
    for key in ("listen", "observe", "relay"):
        for host, number in getattr(control, key):
            where = f"{Address(host, number) if host else f'UDP {number}'} ({key})"
            owner = owners.owner(host, number)
            if owner is None:
                yield ok("port", f"{where} is free: control does not run")
            elif owner.pid in own or (own and owner.pid is None):
                yield ok("port", f"{where} is held by the running netpunch")
            else:
                cure = "stop that program, or choose another port"
                yield fail("port", f"{where} is owned by {owner}", cure)


def relayed_shares(ends: Iterable[EndConfig], nat: NatClass) -> Iterator[Finding]:
    """A relay tells ends apart by their ports, so it carries one of those that share a port."""
    if nat not in HARD:
        return
    sharing = [end for end in ends if end.settings.share and end.settings.may_be_relayed]
    for number, pairs in Counter(end.settings.local[1] for end in sharing).items():
        if pairs > 1:
            text = f"{pairs} pairs share UDP {number}: a relay carries one of them at a time"
            yield warn("relay", text, "`forward`, with a `local` of its own, for the others")


def certificate(control: ControlConfig) -> Finding | None:
    """Whether control's certificate can be used."""
    if control.tls_certificate is None:
        return None
    from netpunch.net.tls_certificate import server_context

    try:
        server_context(control.tls_certificate, control.tls_key)
    except NetpunchError as error:
        code = ConfigurationError.exit_code
        return from_error("certificate", error, blocks=False)._replace(code=code)
    return ok("certificate", str(control.tls_certificate))

"""What a process runs, secrets included. A reload compares two plans to find what has changed."""

import contextlib
import os
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from netpunch.config.auto_ports import EndKey, choose_ports, with_ports
from netpunch.config.document.problems import (
    Position,
    Problem,
    gathered,
    problem_at,
    source_of,
)
from netpunch.config.kinds import some
from netpunch.config.loading import owner_of, owners_of, pairs_served
from netpunch.config.model import ControlConfig, EndConfig, Pair, Part, SecretSource, Site
from netpunch.config.remarks import certainly_unused, unused_links
from netpunch.config.schema import OCCASIONS
from netpunch.config.secrets import Role, Secret, generate, read_secrets
from netpunch.config.values import Chosen
from netpunch.core.traversal.budget import PROBE_RATE
from netpunch.errors import (
    ConfigurationError,
    HookError,
    NetpunchError,
    ResourcesError,
    UsageError,
)
from netpunch.mesh import placeholders
from netpunch.node.options import RunOptions, Share
from netpunch.node.packed_keys import PackedKeys
from netpunch.redacted import redacted
from netpunch.template import TemplateError, render
from netpunch.wire.keys import control_key, pair_control_key

ANYWHERE = Position(0, 0)
"""Stands for every position, which makes no difference."""


class Failure(NamedTuple):
    """A part that cannot run, while the others do: an end (`pair` and `end`), a `control`, or a
    `pair` that a `control` cannot serve (for a mesh without a usable key its name)."""

    error: NetpunchError
    pair: str | None = None
    end: str | None = None
    control: str | None = None

    def __str__(self) -> str:
        """The name of the part."""
        control = f"control {self.control}" if self.control else ""
        end = " ".join(filter(None, (self.pair, self.end)))
        return ": ".join(filter(None, (control, end)))


class ControlPlan(NamedTuple):
    """A control with the v2 keys by pair, and the classic secrets and pair names by letter.
    `other_keys`: the second keys of pairs that have two."""

    control: ControlConfig
    keys: PackedKeys
    secrets: dict[str, bytes]
    names: dict[str, str]
    other_keys: PackedKeys
    unserved: tuple[str, ...] = ()
    """Pairs and meshes that have no usable key."""

    def refuse_if_keyless(self) -> None:
        """Raises ConfigurationError if there are pairs to serve but no key: such a control would
        answer nobody."""
        if self.unserved and not (self.keys or self.secrets):
            pairs = ", ".join(self.unserved)
            raise ConfigurationError(f"not started: none of its pairs has a usable key ({pairs})")

    def __repr__(self) -> str:
        return redacted(self, "keys", "secrets", "other_keys")


class _Keys(NamedTuple):
    """As in `ControlPlan`."""

    keys: dict[str, bytes]
    secrets: dict[str, bytes]
    names: dict[str, str]
    other_keys: dict[str, bytes]

    def take(self, pair: Pair, secrets: tuple[Secret, ...]) -> None:
        """Those of one more pair."""
        if pair.protocol == "classic":
            self.secrets.update(dict.fromkeys(pair.slots, secrets[0].value))
            self.names.update(dict.fromkeys(pair.slots, pair.name))
            return
        for secret, keys in zip(secrets, (self.keys, self.other_keys), strict=False):
            derive = pair_control_key if secret.kind == "control" else control_key
            keys[pair.name] = derive(secret.value, pair.name)


class Plan(NamedTuple):
    """Everything in one node's part that can run, and what cannot. `endless`: a control here serves
    an end on another node. `warnings` are complete lines. `probe_rate`, in datagrams a second, is
    that of the process: the lowest of its ends'."""

    ends: dict[tuple[str, str], EndConfig]
    controls: dict[str, ControlPlan]
    endless: bool
    failures: tuple[Failure, ...] = ()
    warnings: tuple[str, ...] = ()
    probe_rate: float = PROBE_RATE


class Planner:
    """Makes the plans of one process; generated secrets stay the same over reloads."""

    def __init__(self, options: RunOptions) -> None:
        self._options = options
        self._generated: dict[str, tuple[Secret, ...]] = {}
        self._read: dict[tuple[SecretSource, Role], tuple[Secret, ...] | NetpunchError] = {}
        """The secrets of meshes, each of which many pairs need."""
        self._ports: dict[EndKey, Chosen] = {}
        """Of ends that leave it to netpunch where they listen: a reload moves none."""
        self._failures: list[Failure] = []
        self._warnings: list[Problem] = []

    def plan(self, site: Site, part: Part) -> Plan:
        """Reads the secrets that this part needs. One that cannot be read stops only its pair.

        Raises UsageError for a pair that the command line names but the file lacks, or has with
        another mode, and ResourcesError."""
        self._check_names(site)
        self._failures, self._warnings, self._read = [], [], {}
        self._ports = choose_ports(site, part.node, self._ports)
        ends: dict[tuple[str, str], EndConfig] = {}
        rates: list[float] = []
        for end in self._own_ends(part):
            planned = self._plan_end(site, end)
            if planned is not None:
                ends[end.pair, end.end] = planned
                rates.append(end.probe_rate)
        own_controls = part.controls if "control" in (self._options.only or ("control",)) else ()
        controls = {each.name: self._plan_control(site, each, part) for each in own_controls}
        # Disabled ends count: a reload may enable them.
        endless = "control" in self._options.only or any(
            end.node != part.node
            for control in own_controls
            for pair in site.pairs
            if control.name in pair.controls
            for end in pair.ends
        )
        warnings = tuple(gathered(self._warnings))
        if self._options.only and not (ends or controls or self._failures):
            warnings += (f"{site.path}: warning: {_nothing_to_run(self._options.only)}",)
        probe_rate = min(rates, default=PROBE_RATE)
        return Plan(ends, controls, endless, tuple(self._failures), warnings, probe_rate)

    def _check_names(self, site: Site) -> None:
        if not self._options.pairs:
            return
        meshes = {pair.secret.mesh: None for pair in site.pairs if pair.secret.mesh}
        known = meshes | {pair.name: None for pair in site.pairs}
        for name in self._options.pairs:
            if name not in known:
                message = f"no pair or mesh {name!r} in {site.path}: it has {some(known)}"
                raise UsageError(message)

    def _own_ends(self, part: Part) -> list[EndConfig]:
        """The ends that the command line selects."""
        only, pairs = self._options.only, self._options.pairs
        asked = [end for end in part.ends if not pairs or {end.pair, end.secret.mesh} & set(pairs)]
        own = [end for end in asked if not only or end.mode in only]
        if pairs and asked and not own:
            modes = ", ".join(f"{end.pair} {end.end} has `mode: {end.mode}`" for end in asked)
            raise UsageError(f"nothing to run with --only {' --only '.join(only)}: {modes}")
        return own

    def _plan_end(self, site: Site, end: EndConfig) -> EndConfig | None:
        try:
            secrets = self._secrets(site, end, end.pair, "end")
            planned = with_ports(self._overridden(end), self._ports)
            _check_programs(planned)
            self._warnings += _missing_folder(site, planned)
            self._warnings += certainly_unused(unused_links(site, [planned]))
        except ResourcesError:  # not the fault of this end
            raise
        except NetpunchError as error:
            self._failures.append(Failure(error, end.pair, end.end))
            return None
        return _own(planned, secrets)

    def _overridden(self, end: EndConfig) -> EndConfig:
        """The end with the --once or --keep of the command line."""
        if self._options.once and end.command:
            raise ConfigurationError(f"{end.pair}: a command needs `mode: keep`, not --once")
        if self._options.once and end.settings.share:
            raise ConfigurationError(f"{end.pair}: `share` needs `mode: keep`, not --once")
        if self._options.once:
            return end.in_mode("once")
        if not self._options.keep:
            return end
        kept = end.in_mode("keep")
        if kept.holds and kept.protocol == "classic":
            raise ConfigurationError(
                f"{end.pair}: classic cannot hold a link: --keep needs a command or a check"
            )
        return kept

    def _plan_control(self, site: Site, control: ControlConfig, part: Part) -> ControlPlan:
        found = _Keys({}, {}, {}, {})
        own = owners_of(part.ends)
        unserved: dict[str, None] = {}
        for pair in pairs_served(site, control):
            owner = owner_of(pair)
            if owner in unserved:
                continue
            try:
                role: Role = "end" if owner in own else "control"
                secrets = self._secrets(site, pair, pair.name, role)
            except ResourcesError:
                raise
            except NetpunchError as error:
                unserved[owner] = None
                if owner not in own:  # else the end reports it
                    self._failures.append(Failure(error, owner, control=control.name))
                continue
            found.take(pair, secrets)
        return ControlPlan(
            control._replace(position=ANYWHERE),
            PackedKeys(found.keys),
            found.secrets,
            found.names,
            PackedKeys(found.other_keys),
            tuple(unserved),
        )

    def _secrets(
        self, site: Site, owner: EndConfig | Pair, pair: str, role: Role
    ) -> tuple[Secret, ...]:
        """One, or two while the key is rotated."""
        if owner.secret.kind == "generate":
            if pair not in self._generated:
                self._generated[pair] = (generate(owner.protocol),)
            return self._generated[pair]
        if owner.secret.mesh:
            return self._secrets_of_mesh(site, owner, pair, role)
        return self._read_secrets(site, owner, pair, role)

    def _secrets_of_mesh(
        self, site: Site, owner: EndConfig | Pair, pair: str, role: Role
    ) -> tuple[Secret, ...]:
        """Read once, however many pairs share it."""
        source = (owner.secret, role)
        if source not in self._read:
            try:
                self._read[source] = self._read_secrets(site, owner, pair, role)
            except ResourcesError:
                raise
            except NetpunchError as error:
                self._read[source] = error
        secrets = self._read[source]
        if isinstance(secrets, NetpunchError):
            raise secrets
        return secrets

    def _read_secrets(
        self, site: Site, owner: EndConfig | Pair, pair: str, role: Role
    ) -> tuple[Secret, ...]:
        secrets = read_secrets(
            owner.secret,
            owner.protocol,
            site=site,
            pair=pair,
            role=role,
            environ=os.environ,
        )
        self._warnings += (warning for each in secrets for warning in each.warnings)
        return secrets


def _nothing_to_run(only: Iterable[Share]) -> str:
    modes = [f"`mode: {share}`" for share in only if share != "control"]
    lacks = ["no control is on this node"] if "control" in only else []
    if modes:
        lacks.append(f"no enabled end of this node has {' or '.join(modes)}")
    return f"nothing to run: {', and '.join(lacks)}"


def _check_programs(end: EndConfig) -> None:
    """Raises HookError if a program that this end may run is missing: better now than after a
    link."""
    hooks = {f"hooks.{name}": getattr(end.hooks, name) for name in OCCASIONS}
    programs = {"check": end.check, "command": end.command, **hooks}
    if not any(programs.values()):
        return
    from netpunch.node.process import find_program  # few ends run programs

    known = placeholders(end.pair, end.end)
    for key, argv in programs.items():
        try:
            if argv:
                find_program(render(argv[0], known) if key == "command" else argv[0], end.directory)
        except TemplateError:
            continue  # its name depends on the link's addresses
        except HookError as error:
            raise HookError(f"{key}: {error}") from None


def _missing_folder(site: Site, end: EndConfig) -> Iterator[Problem]:
    """A warning if the env file's folder is not there: otherwise only a link would tell."""
    if end.env_file is None or end.hooks.before:  # which may make it
        return
    from netpunch.node.publish import env_file_of  # few ends write files

    with contextlib.suppress(TemplateError):  # its name depends on the link
        path = env_file_of(end)
        if path is not None and not path.parent.is_dir():
            source = source_of(str(site.path), site.source)
            folder = path.parent
            yield problem_at(
                source,
                end.position,
                end.path,
                f"warning: the folder of `env_file` is missing: `mkdir -p {folder}`, or "
                "RuntimeDirectory= in the systemd unit",
            )


def _own(end: EndConfig, secrets: tuple[Secret, ...]) -> EndConfig:
    """The end with its secrets, without what a reload may change while its link goes on: its place
    in the file, and the rate that all ends of the process share."""
    return end._replace(
        settings=end.settings.with_secrets([each.value for each in secrets]),
        probe_rate=PROBE_RATE,
        secret=end.secret.at(ANYWHERE),
        files=tuple(file._replace(position=ANYWHERE) for file in end.files),
        position=ANYWHERE,
        path="",
    )

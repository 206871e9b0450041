"""The whole examination of a node: measures, and gathers findings."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from netpunch.config.loading import owner_of, pairs_served
from netpunch.config.model import ControlConfig, EndConfig, Pair, Part, Site
from netpunch.core.settings import EndSettings
from netpunch.doctor import local, network
from netpunch.doctor.facts import Facts
from netpunch.doctor.finding import Finding, ok, warn
from netpunch.doctor.host import units
from netpunch.doctor.keys import Key, Reader, unusable
from netpunch.doctor.local import Process
from netpunch.doctor.measuring import MOST_ASKERS, Asker, ControlSeen, Network, measure
from netpunch.doctor.report import Report
from netpunch.doctor.verdicts import Judge
from netpunch.net.loop import in_thread
from netpunch.net.port_owner import PortOwners

T = TypeVar("T")

HOST_PATIENCE = 6.0
"""Seconds for running processes and systemd to answer; they do at once, or hang."""


class Patient(NamedTuple):
    """What is examined: the part of a site that a node runs, or the ends of one pair of it."""

    site: Site
    part: Part
    environ: Mapping[str, str]
    credentials: Path | None
    find_processes: Callable[[], Sequence[Process]]
    """The status of each process that runs the file. May take long."""


async def examine(patient: Patient) -> Report:
    """Takes 12 seconds at most."""
    facts = await _learn(patient)
    findings = tuple(_findings(patient, facts))
    judge = Judge(patient.site, facts, findings)
    ends = [judge.end(end) for end in patient.part.ends]
    controls = [judge.control(each) for each in patient.part.controls]
    survey = facts.network.nat
    nat = None if survey is None else survey.report.nat_class
    file = str(patient.site.path)
    return Report(file, patient.part.node, (*ends, *controls), findings, nat)


async def _learn(patient: Patient) -> Facts:
    keys = _keys(patient)
    controls, askers = _controls(patient), _askers(patient, keys)
    silent: list[str] = []
    measured, processes, found = await asyncio.gather(
        measure(controls, askers),
        _in_time(patient.find_processes, "running", silent),
        _in_time(units, "unit", silent),
    )
    return Facts(keys, measured, processes or (), found, tuple(silent))


async def _in_time(ask: Callable[[], T], name: str, silent: list[str]) -> T | None:
    try:
        async with asyncio.timeout(HOST_PATIENCE):
            return await in_thread(ask, name)
    except TimeoutError:
        silent.append(name)
        return None


def _keys(patient: Patient) -> dict[str, tuple[Key, ...]]:
    """Of the ends, and of the first pairs that controls here serve."""
    reader = Reader(patient.site, patient.environ, patient.credentials)
    known: dict[str, tuple[Key, ...]] = {}
    keys: dict[str, tuple[Key, ...]] = {}
    for end in patient.part.ends:
        owner = end.secret.mesh or end.pair
        if owner not in known:
            known[owner] = reader.keys(end, end.pair, "end")
        keys[end.pair] = tuple(key._replace(pair=end.pair) for key in known[owner])
    for control in patient.part.controls:
        for pair in _first_pairs(patient.site, control):
            keys.setdefault(pair.name, reader.keys(pair, pair.name, "control"))
    return keys


def _first_pairs(site: Site, control: ControlConfig) -> list[Pair]:
    """One for each key, as many as are asked with."""
    by_owner: dict[str, Pair] = {}
    for pair in pairs_served(site, control):
        by_owner.setdefault(owner_of(pair), pair)
    return list(by_owner.values())[:MOST_ASKERS]


def _controls(patient: Patient) -> list[ControlConfig]:
    """Those of this node, and those of its ends."""
    own = {control.name for control in patient.part.controls}
    names = own | {name for end in patient.part.ends for name in end.controls}
    return [control for control in patient.site.controls if control.name in names]


def _askers(patient: Patient, keys: Mapping[str, tuple[Key, ...]]) -> list[Asker]:
    """One for each key."""
    found: dict[str, Asker | None] = {}
    for end in patient.part.ends:
        for key in keys[end.pair]:
            if key.asker_name not in found:
                found[key.asker_name] = key.asker(end.settings, end.controls)
    for control in patient.part.controls:
        for pair in _first_pairs(patient.site, control):
            settings = EndSettings(pair.name, "a", b"")
            for key in keys[pair.name]:
                if key.asker_name not in found:
                    found[key.asker_name] = key.asker(settings, (control.name,))
    return [asker for asker in found.values() if asker is not None]


# Findings.


def _findings(patient: Patient, facts: Facts) -> Iterator[Finding]:
    site, part, measured = patient.site, patient.part, facts.network
    yield _file(patient)
    for each in part.ends:
        yield from _of_key(each, facts, patient.credentials)
    for control in part.controls:
        yield from _of_keys_served(site, control, facts, patient)
    own = {control.name for control in part.controls}
    for name, seen in measured.controls.items():
        here = name in own and facts.process_with(name) is not None
        yield from network.control(name, seen, runs_here=here)
    yield from network.observe(measured.controls, measured.nat)
    if part.ends:
        yield from _of_nat(part.ends, measured)
    yield from network.relay(measured.controls, [end.settings for end in part.ends])
    yield from network.path_mtu(measured.controls)
    yield from _of_host(patient, facts)
    owners = PortOwners()
    for end in part.ends:
        yield from _of_end(patient, end, facts, owners)
    for control in part.controls:
        yield from local.control_ports(control, facts.processes, owners)
        if (certificate := local.certificate(control)) is not None:
            yield certificate


def _file(patient: Patient) -> Finding:
    site, part = patient.site, patient.part
    name = site.path.name
    ends = [f"end {end.end} of {end.pair}" for end in part.ends]
    what = [f"control {control.name}" for control in part.controls]
    what += ends if len(ends) <= local.MOST_NAMED else [f"{len(ends)} ends"]
    who = "all in one process" if part.node is None else f"this is node {part.node}"
    text = f"{name}, {who}: {', '.join(what) or 'nothing to run'}"
    if number := len(site.warnings):
        plural = "" if number == 1 else "s"
        return warn("file", f"{text}; {number} warning{plural}", f"`netpunch check {name}`")
    return ok("file", text)


def _of_key(end: EndConfig, facts: Facts, credentials: Path | None) -> Iterator[Finding]:
    keys = facts.keys[end.pair]
    yield from unusable([key for key in keys if not key.fingerprint], credentials)
    usable = [key for key in keys if key.fingerprint]
    seen = {name: facts.network.controls[name] for name in end.controls}
    for key in usable:
        told = [_at_control(name, each, key, usable) for name, each in seen.items()]
        named = [each._replace(text=f"{key.name}, {each.text}") for each in told if each]
        yield from named or [ok("key", f"{key.name}, {key.fingerprint}", end.pair)]


def _at_control(name: str, seen: ControlSeen, key: Key, usable: Sequence[Key]) -> Finding | None:
    """Whether a control has one of an end's usable keys; one of two is enough."""
    others = [each for each in usable if each.number != key.number]
    return network.key_at(
        name,
        seen,
        key.asker_name,
        key.pair,
        key.fingerprint,
        has_other=any(seen.has_key(each.asker_name) for each in others),
    )


def _of_keys_served(
    site: Site, control: ControlConfig, facts: Facts, patient: Patient
) -> Iterator[Finding]:
    keys = [key for pair in _first_pairs(site, control) for key in facts.keys[pair.name]]
    yield from unusable([key for key in keys if not key.fingerprint], patient.credentials)
    seen = facts.network.controls[control.name]
    usable = [key for key in keys if key.fingerprint]
    answered = [key for key in usable if seen.answers(key.asker_name)]
    if usable and seen.answer is not None:
        yield ok("key", f"control answers {len(answered)} of {len(usable)} keys of this file")
    elif usable:
        yield ok("key", f"{len(usable)} keys can be read")


def _of_nat(ends: Sequence[EndConfig], measured: Network) -> Iterator[Finding]:
    yield from network.nat(measured.nat, measured)
    yield from network.translations(measured)
    wanted = any(end.settings.asks_gateways for end in ends)
    if measured.nat is not None:
        yield from local.relayed_shares(ends, measured.nat.report.nat_class)
    yield from network.mapping(measured.gateways, wanted=wanted)
    yield from network.ipv6(measured)


def _of_host(patient: Patient, facts: Facts) -> Iterator[Finding]:
    processes = facts.processes_of(patient.part)
    if "running" in facts.silent:
        text = "a running process does not answer on its status socket"
        yield warn("running", text, "is it suspended? `netpunch status` names it")
    else:
        yield from local.running(patient.site, processes)
    if "unit" in facts.silent:
        yield warn("unit", "systemd does not answer", "`systemctl status` shows why")
    yield from local.unit(facts.units, processes)
    yield from local.limits(patient.part, next(iter(processes), None))


def _of_end(
    patient: Patient, end: EndConfig, facts: Facts, owners: PortOwners
) -> Iterator[Finding]:
    process = facts.process_of(end)
    if (state := local.state(end, process)) is not None:
        yield state
    yield local.port(end, process, owners)
    yield from local.use(patient.site, end)
    yield from local.programs(end)
    yield from local.folders(patient.part, end)
    yield from local.rights(end, process)

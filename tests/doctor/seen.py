"""Controls, NATs and ends as the doctor has seen them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from netpunch.address import Address
from netpunch.config.loading import load
from netpunch.config.model import EndConfig, Site
from netpunch.core.observing import Answer
from netpunch.core.settings import ControlAt
from netpunch.core.traversal.nat import NatReport
from netpunch.doctor.finding import Finding, Level
from netpunch.doctor.measuring import ControlSeen
from netpunch.net.observation import NatSurvey, Reply
from netpunch.wire.card import NatClass

CONTROL = Address("198.51.100.10", 10001)
PUBLIC = Address("203.0.113.5", 5000)
AT = ControlAt("vps.example.net", 10001, 10002)


def reply(relay_port: int = 0, **more: Any) -> Reply:
    """An answer in 23 ms."""
    return Reply(Answer(PUBLIC, 0.023, relay_port), **{"mtu": 1500, **more})


def control(*, at: ControlAt = AT, **more: Any) -> ControlSeen:
    """One that answers the key of pair `p`, unless `more` says otherwise."""
    fields: dict[str, Any] = {"addresses": (CONTROL,), "replies": {("p", CONTROL): reply()}}
    return ControlSeen(at, **fields | more)


def survey(nat: NatClass, *seen: Address, **more: Any) -> NatSurvey:
    return NatSurvey(NatReport(nat), seen or (PUBLIC,), **more)


def site_of(folder: Path, end: str = "", site: str = "") -> Site:
    """Of the pair `p`, whose end a is on node home with more keys, given as YAML."""
    file = folder / "site.yaml"
    file.write_text(
        "version: 1\n"
        'control: {node: vps, address: "vps.example.net:10001"}\n'
        f"{site}\n"
        "pairs:\n"
        f"  p: {{secret_file: p.key, a: {{node: home, {end}}}, b: {{node: office}}}}\n"
    )
    return load(file)


def end_of(folder: Path, end: str = "", site: str = "") -> EndConfig:
    return site_of(folder, end, site).pairs[0].a


def only(level: Level, findings: Any) -> Finding:
    """The only finding, which has this level, and a cure exactly if all is not well."""
    [found] = [findings] if isinstance(findings, Finding) else list(findings)
    assert isinstance(found, Finding)
    assert found.level is level, found
    assert bool(found.cure) == (level is not Level.OK)
    return found

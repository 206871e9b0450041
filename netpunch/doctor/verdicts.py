"""The verdicts: whether each pair can link, and how, from all that was learnt and found."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from netpunch.config.model import ControlConfig, EndConfig, Site
from netpunch.doctor import local
from netpunch.doctor.facts import Facts
from netpunch.doctor.finding import Finding, Level
from netpunch.doctor.measuring import ControlSeen
from netpunch.doctor.outlook import Circumstances, circumstances, outlook, sentence
from netpunch.doctor.report import Verdict
from netpunch.reasons import in_words
from netpunch.wire.card import NatClass

CLASSIC = "classic: control answers registrations only, so nothing more is known"
NO_ANSWER = "it is not known how it links: no control has answered (see `control` and `key`)"


class Judge:
    """Comes to a verdict on each end and control of a node."""

    def __init__(self, site: Site, facts: Facts, findings: Iterable[Finding]) -> None:
        failures = [each for each in findings if each.level is Level.FAIL]
        self._pairs = {pair.name: pair for pair in site.pairs}
        self._facts = facts
        self._blocking = _first_of_each_pair(each for each in failures if each.blocks)
        self._failing = _first_of_each_pair(failures)
        reach = [each for each in failures if each.name in ("control", "key")]
        self._reach = _first_of_each_pair(each for each in reach if each.pairs)
        self._controls = [each for each in reach if not each.pairs]

    def end(self, end: EndConfig) -> Verdict:
        """Of the pair of an end; a link that is up is believed before all else."""
        told = local.told_of(end, self._facts.process_of(end)) or {}
        if told.get("state") == "up":
            by = f" ({told['path']} to {told.get('raddr')})" if told.get("path") else ""
            return Verdict(end.pair, f"is linked{by}", can_link=True)
        obstacle = self._blocking.get(end.pair) or self._out_of_reach(end)
        if obstacle is not None:
            text = f"cannot link: {obstacle.name} {obstacle.text}"
            return Verdict(end.pair, text, can_link=False, cure=obstacle.cure)
        verdict = self._with_failure(self._prospect(end))
        if told.get("reason"):
            return verdict._replace(text=f"{verdict.text}; now: {in_words(str(told['reason']))}")
        return verdict

    def _with_failure(self, verdict: Verdict) -> Verdict:
        """With the first failure that does not prevent the link, but something else."""
        if (failure := self._failing.get(verdict.name)) is None:
            return verdict
        text = f"{verdict.text}; but {failure.name}: {failure.text}"
        return verdict._replace(text=text, cure=failure.cure)

    def control(self, control: ControlConfig) -> Verdict:
        name = f"control {control.name}"
        process = self._facts.process_with(control.name)
        if process is not None:
            return Verdict(name, f"runs: {process.get('summary', '')}")
        if self._facts.network.controls[control.name].answer is not None:
            return Verdict(name, "answers")
        return Verdict(name, "does not answer: it does not run, or cannot be reached from here")

    def _out_of_reach(self, end: EndConfig) -> Finding | None:
        """What stands between an end and all its controls; None if one has a key of the pair, or
        if that is not known."""
        controls = self._controls_of(end).values()
        names = [key.asker_name for key in self._facts.keys[end.pair]]
        if any(seen.has_key(name) for seen in controls for name in names):
            return None
        if all(not seen.addresses or seen.was_asked(names[0]) for seen in controls):
            return self._reach.get(end.pair) or next(iter(self._controls), None)
        return None

    def _prospect(self, end: EndConfig) -> Verdict:
        if end.protocol == "classic":
            return Verdict(end.pair, CLASSIC)
        controls = self._controls_of(end)
        given = self._circumstances(end, list(controls.values()))
        if given is None:
            return Verdict(end.pair, NO_ANSWER)
        ways = outlook(given)
        relaying = next((name for name, each in controls.items() if each.relay_port), "")
        can_link = any(way.likely != 0 for way in ways.values())
        return Verdict(end.pair, sentence(given, ways, relaying), can_link, ways)

    def _circumstances(
        self, end: EndConfig, controls: Sequence[ControlSeen]
    ) -> Circumstances | None:
        """None if no control has answered anything."""
        over_udp = any(each.answer is not None for each in controls)
        over_tls = any(each.tls is not None for each in controls)
        if not (over_udp or over_tls):
            return None
        survey = self._facts.network.nat
        nat = NatClass.UNKNOWN if survey is None else survey.report.nat_class
        ports = [each.relay_port for each in controls]
        relays = True if any(ports) else None if None in ports else False
        return circumstances(
            nat if over_udp else NatClass.BLOCKED,
            relays,
            over_tls,
            end.settings,
            self._partner(end).settings,
        )

    def _partner(self, end: EndConfig) -> EndConfig:
        pair = self._pairs[end.pair]
        return pair.b if end.end == "a" else pair.a

    def _controls_of(self, end: EndConfig) -> Mapping[str, ControlSeen]:
        return {name: self._facts.network.controls[name] for name in end.controls}


def _first_of_each_pair(findings: Iterable[Finding]) -> dict[str, Finding]:
    first: dict[str, Finding] = {}
    for each in findings:
        for pair in each.pairs:
            first.setdefault(pair, each)
    return first

"""Hostile names and addresses in a site file: refused in printable words, or harmless."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from netpunch.config.document.problems import SiteError
from netpunch.config.model import Site
from netpunch.config.values import HostPort, bound_host_port, host_port, reachable_host_port
from tests.config.conftest import LoadText
from tests.hostile import TEXTS, is_shown_as_one_line, meddled

NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,31}", re.ASCII)
"""As documented."""
HOST = re.compile(r"[A-Za-z0-9_.:-]*", re.ASCII)
"""What may stand in an argument, an env file or a log line as it is."""

NAMES = ["home-office", "a", "0", "x" * 32, "a-", "1st"]
HOSTS = [":5000", "192.0.2.1:5000", "[2001:db8::1]:5000", "vps.example.net:10001", "localhost:1"]
ILL_FORMED = ["", "-a", "x" * 33, "Home", "home\n", "home ", "h\u00f6me", "a.b", "a_b", "\u0661"]
LONGEST_REPORT = 2000
EVERY_TENTH = 10
"""Reading a file takes a hundred times as long as reading a value."""


def report_of(load_text: LoadText, text: str) -> tuple[Site | None, str]:
    """The site, or what is said instead."""
    try:
        return load_text(text), ""
    except SiteError as error:
        return None, str(error)


def assert_printable(report: str) -> None:
    """One block: each problem is a line, and below it the source line and a caret."""
    lines = report.split("\n")
    assert all(map(is_shown_as_one_line, lines)), report
    assert lines[0].startswith("site.yaml:")
    told = [line for line in lines if line.startswith("site.yaml:")]
    assert len(lines) <= 3 * len(told), report
    assert len(report) <= LONGEST_REPORT * len(told)


def site_with(name: str, *, quoted: bool) -> str:
    key = json.dumps(name) if quoted else name
    return (
        'version: 1\ncontrol: {address: "127.0.0.1:10001"}\npairs:\n'
        f"  {key}:\n    secret: generate\n    a: {{}}\n    b: {{}}\n"
    )


def test_hostile_names_of_pairs_are_refused_or_valid(load_text: LoadText) -> None:
    """Quoted, it is the name; as it stands, YAML may see another one in it."""
    verdicts: Counter[str] = Counter()
    for number, name in enumerate([*NAMES, *ILL_FORMED, *meddled("names", NAMES)]):
        quoted = number % 2 == 0 or name in NAMES
        text = site_with(name, quoted=quoted).encode("utf-8", "replace").decode()
        site, report = report_of(load_text, text)
        names = [pair.name for pair in site.pairs] if site else []
        assert all(map(NAME.fullmatch, names)), names
        if quoted:
            assert bool(site) == bool(NAME.fullmatch(name)), (name, report)
        if site is None:
            assert_printable(report)
        verdicts["taken" if site else "refused"] += 1
    assert verdicts.total() >= TEXTS
    print(f"pair names: {dict(verdicts)}, 0 illegal ones taken, 0 crashes")


def test_the_nearest_valid_name_of_a_pair_is_accepted(load_text: LoadText) -> None:
    for name in [*meddled("names", NAMES)][::EVERY_TENTH]:
        legal = re.sub("[^a-z0-9-]", "", name.lower()).lstrip("-")[:32] or "p"
        site, report = report_of(load_text, site_with(legal, quoted=True))
        assert site, report
        assert site.pairs[0].name == legal


def assert_harmless(address: HostPort) -> None:
    assert HOST.fullmatch(address.host), address
    assert not address.host.startswith("-")
    assert 0 <= address.port <= 65535


def verdict(reader: Callable[[str], HostPort], text: str) -> str:
    try:
        assert_harmless(reader(text))
    except ValueError as error:
        return "refused" if is_shown_as_one_line(str(error)) else str(error)
    return "taken"


def test_hostile_addresses_are_refused_or_harmless() -> None:
    verdicts: Counter[str] = Counter()
    for text in meddled("addresses", HOSTS):
        for reader in (host_port, bound_host_port, reachable_host_port):
            verdicts[verdict(reader, text)] += 1
    assert verdicts["refused"] + verdicts["taken"] == 3 * TEXTS, verdicts
    print(f"addresses of a site: {dict(verdicts)}, 0 with anything but a host and a port")


@pytest.mark.parametrize("place", ["address", "listen", "observe", "local", "forward"])
def test_hostile_addresses_in_a_site_file_are_refused_in_printable_words(
    load_text: LoadText, place: str
) -> None:
    for text in [*meddled(place, HOSTS)][:: len(HOSTS) * EVERY_TENTH]:
        control: dict[str, Any] = {"address": "127.0.0.1:10001"}
        end: dict[str, Any] = {"mode": "keep"}
        if place in ("local", "forward"):
            end[place] = text if place == "local" else {"listen": "127.0.0.1:1", "to": text}
        else:
            control[place] = text
        described = {
            "version": 1,
            "control": control,
            "pairs": {"p": {"secret": "generate", "a": end, "b": {"mode": "keep"}}},
        }
        written = json.dumps(described, ensure_ascii=False).encode("utf-8", "replace").decode()
        site, report = report_of(load_text, written)
        if site is None:
            assert_printable(report)
            continue
        (pair,), (served,) = site.pairs, site.controls
        to = [pair.a.forward.to] if pair.a.forward and pair.a.forward.to else []
        for address in (
            served.address,
            *served.listen,
            *served.observe,
            HostPort(*pair.a.settings.local),
            *to,
        ):
            assert_harmless(address)


TEMPLATES = ["{pair} {raddr}", "/run/{pair}", "x"]


@pytest.mark.parametrize(
    "key",
    ["template", "env_file", "secret_file", "credential", "mode", "command", "node", "no-key"],
)
def test_hostile_texts_in_a_site_file_are_refused_in_printable_words(
    load_text: LoadText, key: str
) -> None:
    """What is wrong with them is told in printable words, whatever they are."""
    for text in [*meddled(key, TEMPLATES)][:: len(HOSTS) * EVERY_TENTH]:
        value = [text] if key == "command" else text
        described = {
            "version": 1,
            "control": {"address": "127.0.0.1:10001"},
            "pairs": {"p": {"a": {key: value}, "b": {"mode": text}, "secret_file": "p.key"}},
        }
        written = re.sub(r"\\ud[89a-f]..", r"\\ufffd", json.dumps(described))
        _, report = report_of(load_text, written)
        assert_printable(report)

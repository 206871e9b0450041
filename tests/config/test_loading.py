"""Reading a file: what can go wrong before a schema sees it, and what comes out in the end."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
import yaml

from netpunch.config.document.problems import Position, SiteError
from netpunch.config.loading import load
from netpunch.config.model import ControlConfig, Forward, Hooks, RenderedFile, SecretSource
from netpunch.config.values import HostPort
from netpunch.errors import ConfigurationError, MissingFileError, PermissionsError
from tests.config.conftest import LoadText, ReportOf

MINIMAL = """\
version: 1
control: {node: vps, address: "vps.example.net:10001"}    # one mapping, or a list of them
pairs:
  home-office:
    secret_file: secrets/home-office.key
    hooks: [/usr/local/lib/netpunch/openvpn]
    a: {node: home,   local: ":5000"}
    b: {node: office, local: ":5000"}
"""

EVERYTHING = """\
version: 1
node: VPS
control:
  - name: vps
    node: vps
    address: "[2001:DB8:0::1]:10001"
    listen: [":10001", "[::1]:7000"]
    observe: off
    expire: 90s
  - {node: other, address: other.example.net:7, observe: "127.0.0.1:9", public: [h, "2001:db8::7"]}
defaults:
  mode: keep
  control: vps
  local: ":0"
  mark: 0xca6c
  interface: eth0.7
  candidates: [mapped, observed]
  deadline: 1m
  retry_after: 500ms
  keepalive: 1.5s
  hold_for: 40s
  probe_rate: 100.5/s
  check_every: 2h
  hooks: {before: [before], up: [./up, "{x}"], timeout: 1d}
  env_file: "{pair}.{end}.env"
  template: "{pair} {{}} {raddr}"
  session_key: on
  standby: off
  secret_file: "keys/{pair}"
  b: {node: b}
status: run/status.sock
metrics: {textfile: /var/lib/x.prom}
pairs:
  p:
    check: [ping, -c1, 10.8.0.2]
    command: [sbin/vpn, "{rhost}"]
    files: [{template: "{pair}.{end}.in", to: "out/{pair}", mode: "0600"}]
    hooks: {up: [/p/up], down: [down]}
    a:
      node: home
      local: "192.0.2.1:5000"
      hooks: [all]
      env_file: off
    b:
      credential: "np_{pair}"
      candidates: [host, host]
      mark: off
      interface: off
  relay:
    control: [vps, other]
    forward: {listen: "127.0.0.1:1", to: "127.0.0.1:2"}
    a: {node: home, forward: {listen: "127.0.0.1:3"}, hooks: {}}
    b: {}
  go:
    protocol: classic
    slots: d-c
    secret: 010
    session_key: no
    enabled: false
    check: [x]
    a: {node: home, enabled: true}
    b: {hooks: {fail: [f]}}
"""


def test_the_smallest_site_is_loaded_with_positions(load_text: LoadText, tmp_path: Path) -> None:
    site = load_text(MINIMAL)
    assert site.path == Path("site.yaml")
    assert site.controls == (
        ControlConfig(
            name="vps",
            node="vps",
            address=HostPort("vps.example.net", 10001),
            listen=(HostPort("", 10001),),
            observe=(HostPort("", 10002),),
            expire=60.0,
            position=Position(2, 10),
        ),
    )
    assert (site.node, site.status, site.metrics_textfile, site.warnings) == (None, None, None, ())
    (pair,) = site.pairs
    assert (pair.name, pair.enabled, pair.protocol, pair.slots) == ("home-office", True, "v2", "")
    assert pair.controls == ("vps",)
    assert pair.position == Position(4, 3)
    key = str(tmp_path / "secrets/home-office.key")
    assert pair.secret == SecretSource("file", Position(5, 18), path=key)
    a, b = pair.ends
    assert (a.pair, a.end, a.node, a.settings.local) == (
        "home-office",
        "a",
        "home",
        HostPort("", 5000),
    )
    assert (b.pair, b.end, b.node, b.settings.local) == (
        "home-office",
        "b",
        "office",
        HostPort("", 5000),
    )
    assert a.position == Position(7, 8)
    argv = ("/usr/local/lib/netpunch/openvpn",)
    assert a.hooks == b.hooks == Hooks(argv, argv, argv, argv, 30.0)
    assert a.directory == tmp_path


def test_keys_that_are_not_set_have_their_defaults(load_text: LoadText) -> None:
    a = load_text(MINIMAL).pairs[0].a
    assert (a.enabled, a.mode, a.protocol, a.settings.slot, a.holds) == (
        True,
        "once",
        "v2",
        "",
        False,
    )
    assert a.settings.candidates == {"observed", "host", "any-port", "relay"}
    assert (a.settings.deadline, a.retry_after, a.settings.keepalive, a.probe_rate) == (
        60.0,
        30.0,
        15.0,
        200.0,
    )
    assert a.settings.hold_for == 60.0
    assert (a.check, a.check_every, a.command, a.forward) == ((), 30.0, (), None)
    assert (a.env_file, a.files, a.template) == (None, (), None)
    assert (a.session_key, a.standby) == (False, True)
    assert (a.settings.mark, a.settings.interface) == (0, "")


@pytest.mark.parametrize("parser", ["C", "Python"])
def test_every_key_reaches_the_model(
    load_text: LoadText, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parser: str
) -> None:
    if parser == "Python":
        monkeypatch.delattr(yaml, "CSafeLoader", raising=False)
    site = load_text(EVERYTHING)
    vps, other = site.controls
    assert vps.address == HostPort("2001:db8::1", 10001)
    assert vps.listen == (HostPort("", 10001), HostPort("::1", 7000))
    assert (vps.observe, vps.expire) == ((), 90.0)
    assert (vps.public, other.public) == ((), ("h", "2001:db8::7"))
    assert (other.name, other.observe) == ("other", (HostPort("127.0.0.1", 9),))
    assert site.node == "vps"
    assert (site.status, site.metrics_textfile) == (
        f"{tmp_path}/run/status.sock",
        "/var/lib/x.prom",
    )

    p, relay, go = site.pairs
    a, b = p.ends
    assert (a.mode, a.settings.local, a.controls) == ("keep", HostPort("192.0.2.1", 5000), ("vps",))
    assert (a.settings.deadline, a.retry_after, a.settings.keepalive) == (60.0, 0.5, 1.5)
    assert a.settings.hold_for == 40.0
    assert (a.probe_rate, a.check_every) == (100.5, 7200.0)
    assert a.check == ("ping", "-c1", "10.8.0.2")
    assert a.command == (f"{tmp_path}/sbin/vpn", "{rhost}")
    assert a.hooks == Hooks(("all",), ("all",), ("all",), ("all",), 86400.0)
    assert (a.env_file, a.template) == (None, "{pair} {{}} {raddr}")
    assert (a.session_key, a.standby) == (True, False)
    assert a.settings.candidates == {"mapped", "observed"}
    assert (a.settings.mark, a.settings.interface) == (51820, "eth0.7")
    assert (b.settings.mark, b.settings.interface) == (0, "")
    assert a.secret == SecretSource("file", Position(29, 16), path=f"{tmp_path}/keys/p")
    assert b.hooks == Hooks(("before",), ("/p/up",), ("down",), (), 86400.0)
    assert b.node == "b"
    assert b.env_file == f"{tmp_path}/{{pair}}.{{end}}.env"
    assert b.files == (
        RenderedFile(tmp_path / "p.b.in", f"{tmp_path}/out/{{pair}}", 0o600, Position(37, 24)),
    )
    assert b.secret == SecretSource("credential", Position(45, 19), path="np_p")
    assert b.settings.candidates == {"host"}

    assert relay.controls == ("vps", "other")
    assert relay.a.hooks.up == (f"{tmp_path}/./up", "{x}")
    assert relay.a.forward == Forward(HostPort("127.0.0.1", 3), HostPort("127.0.0.1", 2))
    assert relay.b.forward == Forward(HostPort("127.0.0.1", 1), HostPort("127.0.0.1", 2))

    assert (go.protocol, go.slots, go.a.settings.slot, go.b.settings.slot) == (
        "classic",
        "dc",
        "d",
        "c",
    )
    assert go.secret == SecretSource("inline", Position(57, 13), text="010")
    assert "010" not in repr(site)
    assert (go.enabled, go.a.enabled, go.b.enabled) == (False, False, False)


def test_braces_in_the_name_of_the_folder_are_no_placeholders(tmp_path: Path) -> None:
    folder = tmp_path / "{pair}"
    folder.mkdir()
    file = folder / "site.yaml"
    file.write_text(MINIMAL + "    env_file: x\n    mode: keep\n    command: [./vpn]\n")
    a = load(file).pairs[0].a
    assert a.env_file == f"{tmp_path}/{{{{pair}}}}/x"
    assert a.command == (f"{tmp_path}/{{{{pair}}}}/./vpn",)
    assert a.secret.path == f"{folder}/secrets/home-office.key"


def test_a_missing_site_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"nowhere\.yaml: No such file or directory$"):
        load(tmp_path / "nowhere.yaml")
    with pytest.raises(MissingFileError, match=r"Is a directory$"):
        load(tmp_path)


def test_an_unreadable_site_file_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(PermissionsError, match=r"site\.yaml: this user may not read it"):
        load(tmp_path / "site.yaml")


def test_a_site_error_has_its_problems_as_data(load_text: LoadText) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_text("version: 2\ncontrol: {address: ':1', x: y}\npairs: {}\n")
    assert isinstance(caught.value, SiteError)
    assert caught.value.exit_code == 78
    assert [(p.file, p.position, p.key) for p in caught.value.problems] == [
        ("site.yaml", Position(1, 10), "version"),
        ("site.yaml", Position(2, 20), "control.address"),
        ("site.yaml", Position(2, 26), "control.x"),
    ]
    assert str(caught.value) == "\n".join(str(problem) for problem in caught.value.problems)


def test_a_site_error_lists_at_most_fifty_problems(report_of: ReportOf) -> None:
    report = report_of("\n".join(f"k{n}: x" for n in range(1000)) + "\n")
    assert report.count("unknown key") == 50
    assert report.endswith("\n... and more: these are the first 50")


def test_a_byte_order_mark_at_the_start_is_accepted(tmp_path: Path) -> None:
    file = tmp_path / "site.yaml"
    file.write_bytes(b"\xef\xbb\xbf" + MINIMAL.encode())
    assert load(file).pairs[0].position == Position(4, 3)


@pytest.mark.parametrize(
    ("data", "report"),
    [
        (b"a: 1\nb: \xe4\n", "2:4: not UTF-8: save the file as UTF-8\nb: \ufffd\n   ^"),
        (b"\xff\xfea\0", "1:1: not UTF-8: save the file as UTF-8\n****\n^"),
        (
            b"a:\r\nb: \x1b[2J",
            "2:4: control character U+001B: save the file as plain text\nb:  [**\n",
        ),
        (
            "a: \ufeff".encode(),
            "1:4: control character U+FEFF: save the file as plain text\na:\n",
        ),
        (
            b"x" * 1024 * 1024 + b"x",
            "1:1: the file is longer than 1024 KiB: split it into",
        ),
        (b"a: " + b"[" * 20, f"1:19: a{'[0]' * 15}: nested more than 16 levels deep\na: [["),
        (b"[" + b"x," * 60_000, "1:99996: [49996]: more than 50,000 YAML events: split the file"),
    ],
)
def test_a_file_that_cannot_be_yaml_is_refused_at_once(
    tmp_path: Path, data: bytes, report: str
) -> None:
    file = tmp_path / "site.yaml"
    file.write_bytes(data)
    with pytest.raises(SiteError) as caught:
        load(file)
    assert str(caught.value).startswith(f"{file}:{report}")


@pytest.mark.parametrize(("mode", "warned"), [(0o644, True), (0o640, False)])
def test_secrets_in_a_site_file_that_others_may_read_are_warned_of(
    tmp_path: Path, mode: int, warned: bool
) -> None:
    file = tmp_path / "site.yaml"
    file.write_text(MINIMAL + "    protocol: classic\n    slots: a-b\n")
    file.chmod(mode)
    assert load(file).warnings == ()
    text = file.read_text().replace("secret_file: secrets/home-office.key", "secret: hunter2")
    file.write_text(text)
    site = load(file)
    assert (
        site.warnings
        == (f"{file}: warning: contains secrets and others may read it: `chmod 600 {file}`",)
        * warned
    )
    assert "hunter2" not in site.source
    assert len(site.source) == len(text)


def test_a_thousand_pairs_load_within_two_seconds(tmp_path: Path) -> None:
    file = tmp_path / "site.yaml"
    file.write_text(
        MINIMAL.replace("node: home", "node: hub")
        + "".join(
            f'  p{n}: {{secret_file: "{{pair}}", a: {{node: hub, local: ":{6000 + n}"}},'
            f" b: {{node: n{n}}}}}\n"
            for n in range(1000)
        )
    )
    begin = time.process_time()
    assert len(load(file).pairs) == 1001
    assert time.process_time() - begin < 2.0


def test_a_site_file_may_be_a_fifo(tmp_path: Path) -> None:
    """As in `netpunch check <(generate-site)`."""
    reader, writer = os.pipe()
    os.write(writer, MINIMAL.encode())
    os.close(writer)
    try:
        assert load(Path(f"/dev/fd/{reader}")).pairs[0].name == "home-office"
    finally:
        os.close(reader)

"""netpunch.cli.check: every error of every file, and what this node would run."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import pytest
import yaml

from netpunch.cli import main
from netpunch.errors import PermissionsError
from netpunch.net import raw_socket
from netpunch.net.tls_certificate import self_signed
from tests.cli.conftest import SITE, secret

Captured = pytest.CaptureFixture[str]


@pytest.mark.parametrize(
    ("node", "runs"),
    [
        ("home", "this node (home): end home-office.a"),
        ("OFFICE", "this node (office): end home-office.b"),
    ],
)
def test_check_names_the_ends_that_a_node_runs(
    node: str, runs: str, site: Path, pair_key: Path, capsys: Captured
) -> None:
    assert main(["check", "site.yaml", "--node", node]) == 0
    assert capsys.readouterr() == (f"site.yaml: ok, 1 pair, {runs}\n", "")


def test_check_names_the_control_that_a_node_runs(
    site: Path, control_key: Path, capsys: Captured
) -> None:
    control_key.rename("pair.key")
    assert main(["check", "site.yaml", "--node", "vps"]) == 0
    assert capsys.readouterr() == (
        "site.yaml: ok, 1 pair, this node (vps): control vps\n",
        "",
    )


def test_check_reads_included_files_and_points_into_them(
    site: Path, pair_key: Path, capsys: Captured
) -> None:
    more = site.parent / "more.yaml"
    more.write_text(
        "pairs:\n  q: {secret_file: pair.key, mode: keep, a: {node: home}, b: {node: x}}"
    )
    with site.open("a") as file:
        file.write("include: more.yaml\n")
    assert main(["check", "site.yaml", "--node", "home"]) == 0
    output, errors = capsys.readouterr()
    assert (
        output == "site.yaml: ok, 2 pairs in 2 files, this node (home): ends home-office.a, q.a\n"
    )
    assert errors.startswith("more.yaml:2:45: pairs.q.a: warning: nothing will use this link")
    more.write_text(more.read_text().replace("pair.key", "gone.key"))
    assert main(["check", "site.yaml", "--node", "home"]) == 78
    place = "more.yaml:2:20: pairs.q.secret_file: there is no file"
    assert capsys.readouterr().err.startswith(place)


def test_check_of_many_pairs_is_short(folder: Path, capsys: Captured) -> None:
    pair = "{secret_file: '{pair}.key', mode: once, a: {node: home}, b: {node: x}}"
    pairs = "".join(f"  p{number}: {pair}\n" for number in range(30))
    (folder / "site.yaml").write_text(f"{SITE[: SITE.index('  home-office')]}{pairs}")
    assert main(["check", "site.yaml", "--node", "home"]) == 78
    report = capsys.readouterr().err
    assert report.count("there is no file") == 10
    assert report.endswith("... and 20 secrets more that cannot be used\n")
    for number in range(30):
        assert main(["key", "new", "-o", f"p{number}.key"]) == 0
    capsys.readouterr()
    assert main(["check", "site.yaml", "--node", "home"]) == 0
    assert capsys.readouterr().out.endswith(", p10.a, p11.a and 18 more\n")


def test_check_warns_of_the_pairs_own_key_on_a_control(
    site: Path, pair_key: Path, capsys: Captured
) -> None:
    assert main(["check", "site.yaml", "--node", "vps"]) == 0
    assert "site.yaml:5:18: pairs.home-office.secret_file: warning: " in capsys.readouterr().err


def test_check_describes_a_site_in_one_process(folder: Path, capsys: Captured) -> None:
    site = (
        SITE.replace("secret_file: pair.key", "secret: generate")
        .replace("node: vps, ", "name: c, ")
        .replace("node: home, ", "")
        .replace("node: office, ", "")
        .replace('"}', '"}', 1)
        .replace('":5000"}', '":5001"}', 1)
    )
    (folder / "site.yaml").write_text(site)
    assert main(["check", "site.yaml"]) == 0
    assert capsys.readouterr().out == (
        "site.yaml: ok, 1 pair, all in one process: control c, ends home-office.a, home-office.b\n"
    )


def test_check_says_that_there_is_nothing_to_run(
    folder: Path, pair_key: Path, capsys: Captured
) -> None:
    site = SITE.replace("secret_file", "enabled: off\n    secret_file")
    (folder / "site.yaml").write_text(site)
    assert main(["check", "site.yaml", "--node", "home"]) == 0
    assert capsys.readouterr().out.endswith(": nothing to run\n")


def test_the_environment_names_the_node_of_check(
    site: Path, pair_key: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.setenv("NETPUNCH_NODE", "office")
    assert main(["check", "site.yaml"]) == 0
    assert "this node (office)" in capsys.readouterr().out


def test_a_node_that_no_part_names_is_an_error_of_a_valid_file(
    site: Path, capsys: Captured
) -> None:
    assert main(["check", "site.yaml", "--node", "elsewhere"]) == 78
    output, errors = capsys.readouterr()
    assert output == ""
    assert errors.splitlines() == [
        "site.yaml: no part runs on 'elsewhere': choose one of home, office, vps with `--node`",
        "site.yaml: valid otherwise",
    ]


def test_check_warns_of_addresses_that_this_host_does_not_have(
    folder: Path, control_key: Path, capsys: Captured
) -> None:
    """At an end, its `forward`, and a control; `run` waits for them."""
    (folder / "site.yaml").write_text(
        SITE.replace('":5000"', '"203.0.113.1:5000", forward: {listen: "[2001:db8::1]:5001"}', 1)
        .replace("version: 1", "version: 1\ndefaults: {mode: keep}")
        .replace('10001"', '10001", listen: "203.0.113.2:10001"')
        .replace("secret_file: pair.key", "secret_file: control.key")
        .replace("node: home, ", "secret_file: pair.key, node: home, ")
    )
    assert main(["check", "site.yaml", "--node", "vps"]) == 0
    assert main(["check", "site.yaml", "--node", "home"]) == 0
    warnings = capsys.readouterr().err.splitlines()
    here, advice = "this host does not have the address", "now: `ip address` shows"
    assert [each.split(": ", 1)[1] for each in warnings if advice in each] == [
        f"control vps: warning: {here} 203.0.113.2 {advice} those that it has",
        f"pairs.home-office.a: warning: {here} 203.0.113.1 {advice} those that it has",
        f"pairs.home-office.a: warning: {here} 2001:db8::1 {advice} those that it has",
    ]


def test_check_reports_the_errors_of_all_files(
    site: Path, pair_key: Path, folder: Path, capsys: Captured
) -> None:
    (folder / "bad.yaml").write_text(SITE.replace('":5000"', "nowhere"))
    assert main(["check", "bad.yaml", "none.yaml", "site.yaml", "--node", "home"]) == 78
    output, errors = capsys.readouterr()
    assert output.startswith("site.yaml: ok, ")
    assert "bad.yaml:6:30: pairs.home-office.a.local: " in errors
    assert "bad.yaml:7:30: pairs.home-office.b.local: " in errors
    assert "none.yaml: " in errors
    assert main(["check", "none.yaml"]) == 66


@pytest.mark.parametrize(
    ("content", "mode", "code"), [(None, 0, 78), (b"hunter2", 0o600, 78), (b"hunter2", 0o644, 77)]
)
def test_check_reads_the_secrets_that_this_node_needs(
    content: bytes | None, mode: int, code: int, site: Path, folder: Path, capsys: Captured
) -> None:
    if content is not None:
        secret(folder / "pair.key", content, mode)
    assert main(["check", "site.yaml", "--node", "home"]) == code
    output, errors = capsys.readouterr()
    assert output == ""
    assert errors.startswith("site.yaml:5:18: pairs.home-office.secret_file: ")
    assert "hunter2" not in errors


def test_check_does_not_read_a_secret_that_only_another_node_needs(
    folder: Path, pair_key: Path
) -> None:
    lines = SITE.replace("office, ", "office, secret_file: only-there.key, ")
    (folder / "site.yaml").write_text(lines)
    assert main(["check", "site.yaml", "--node", "home"]) == 0
    assert main(["check", "site.yaml", "--node", "office"]) == 78


def test_a_problem_that_control_and_end_share_is_reported_once(
    folder: Path, capsys: Captured
) -> None:
    (folder / "site.yaml").write_text(SITE.replace("node: vps", "node: home"))
    assert main(["check", "site.yaml", "--node", "home"]) == 78
    assert capsys.readouterr().err.count("there is no file") == 1


def test_check_reports_a_template_that_cannot_be_read(
    folder: Path, pair_key: Path, capsys: Captured
) -> None:
    files = '    files: [{template: vpn.in, to: "/run/vpn.conf"}]\n'
    (folder / "site.yaml").write_text(SITE.replace("    a:", files + "    a:"))
    assert main(["check", "site.yaml", "--node", "home"]) == 78
    errors = capsys.readouterr().err
    assert "vpn.in can't be read" in errors
    assert "valid otherwise" not in errors


def test_check_warns_of_a_readable_file_with_secrets(
    folder: Path, pair_key: Path, capsys: Captured
) -> None:
    text = SITE.replace("secret_file: pair.key", f'secret: "{pair_key.read_text().strip()}"')
    secret(folder / "site.yaml", text.encode(), 0o644)
    assert main(["check", "site.yaml", "--node", "home", "--show"]) == 0
    output, errors = capsys.readouterr()
    assert "chmod 600 site.yaml" in errors
    assert pair_key.read_text().strip() not in output + errors


def test_the_output_of_check_show_is_yaml(site: Path, pair_key: Path, capsys: Captured) -> None:
    assert main(["check", "site.yaml", "site.yaml", "--node", "home", "--show"]) == 0
    output = capsys.readouterr().out
    assert output.startswith("---\n# site.yaml: ok, 1 pair, this node (home)")
    first, second = yaml.safe_load_all(output)
    assert first == second
    assert first["pairs"]["home-office"]["a"]["local"] == ":5000"


def test_the_host_name_names_the_node_of_check_last(
    folder: Path, pair_key: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.setattr("socket.gethostname", lambda: "HOME.example.net")
    (folder / "site.yaml").write_text(SITE)
    assert main(["check", "site.yaml"]) == 0
    assert "this node (home)" in capsys.readouterr().out
    assert "NETPUNCH_NODE" not in os.environ


@pytest.fixture
def keys(folder: Path, site: Path, pair_key: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as units name it in LoadCredential=netpunch:FOLDER, and a site that uses it."""
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    site.write_text(SITE.replace("secret_file: pair.key", 'credential: "netpunch_{pair}.key"'))
    (folder / "keys").mkdir()
    pair_key.rename(folder / "keys" / "home-office.key")
    return folder / "keys"


def test_a_credential_is_not_checked_outside_of_its_service(keys: Path, capsys: Captured) -> None:
    assert main(["check", "site.yaml", "--node", "home"]) == 0
    output, errors = capsys.readouterr()
    assert output == "site.yaml: ok, 1 pair, this node (home): end home-office.a\n"
    (line,) = errors.splitlines()
    assert line.startswith(
        "site.yaml: warning: 1 credential not checked (netpunch_home-office.key): "
    )
    assert "--credentials DIR" in line


def test_other_errors_are_reported_without_the_credentials(keys: Path, capsys: Captured) -> None:
    other = "  q: {secret_file: none.key, a: {node: home}, b: {node: office}}\n"
    with Path("site.yaml").open("a") as file:
        file.write(other)
    assert main(["check", "site.yaml", "--node", "home"]) == 78
    assert "pairs.q.secret_file: there is no file" in capsys.readouterr().err


def test_check_reads_the_credentials_in_the_folder_of_a_unit(keys: Path, capsys: Captured) -> None:
    line = ["check", "--credentials", "keys", "site.yaml", "--node", "home"]
    assert main(line) == 0
    assert capsys.readouterr().err == ""
    secret(keys / "home-office.key", b"hunter2")
    assert main(line) == 78
    errors = capsys.readouterr().err
    assert errors.startswith("site.yaml:5:17: pairs.home-office.credential: ")
    assert "hunter2" not in errors
    (keys / "home-office.key").unlink()
    assert main(line) == 78
    assert "there is no file keys/home-office.key" in capsys.readouterr().err


def test_check_reads_the_credentials_of_its_service(
    keys: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    (keys / "home-office.key").rename(keys / "netpunch_home-office.key")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(keys))
    assert main(["check", "site.yaml", "--node", "home"]) == 0
    assert capsys.readouterr().err == ""


def test_check_explains_a_credential_added_after_its_service_started(
    keys: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    """The message does not ask to create a key."""
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(keys))
    assert main(["check", "site.yaml", "--node", "home"]) == 78
    errors = capsys.readouterr().err
    assert "systemd did not load the credential netpunch_home-office.key" in errors
    assert "LoadCredential=netpunch:FOLDER (with a file home-office.key in it)" in errors
    assert "restart the service" in errors
    assert "key new" not in errors


def test_check_reads_the_certificate_of_a_control(
    site: Path, control_key: Path, capsys: Captured
) -> None:
    control_key.rename("pair.key")
    text = site.read_text()
    keys = 'relay: ":10003", tls: ":8443", tls_certificate: cert.pem'
    site.write_text(text.replace("node: vps, ", f"node: vps, {keys}, "))
    assert main(["check", "site.yaml", "--node", "vps"]) == 66
    assert "control vps: " in (error := capsys.readouterr().err)
    assert "cert.pem: No such file or directory" in error
    Path("cert.pem").write_text("nothing")
    assert main(["check", "site.yaml", "--node", "vps"]) == 78
    assert "cert.pem: expected a certificate in PEM form" in capsys.readouterr().err
    Path("cert.pem").write_bytes(self_signed("vps.example.net"))
    assert main(["check", "site.yaml", "--node", "vps"]) == 0
    assert main(["check", "site.yaml", "--node", "home"]) != 66, "an end has no use for it"


MESH = """\
version: 1
control: {node: vps, address: "127.0.0.1:10001"}
meshes: {lan: {secret_file: pair.key, mode: keep, nodes: [home, office, cabin],
               forward: {listen: "127.0.0.1:52000+"}, candidates: [observed]}}
"""


def test_check_counts_the_ends_of_a_mesh_and_shows_their_ports(
    folder: Path, pair_key: Path, capsys: Captured
) -> None:
    (folder / "mesh.yaml").write_text(MESH)
    assert main(["check", "mesh.yaml", "--node", "home", "--show"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert "# mesh.yaml: ok, 3 pairs, this node (home): 2 ends of mesh lan\n" in out
    pairs = yaml.safe_load(out)["pairs"]
    assert pairs["lan.home.office"]["a"]["forward"]["listen"] == "127.0.0.1:52001"
    assert pairs["lan.cabin.home"]["b"]["forward"]["listen"] == "127.0.0.1:52002"


def test_check_reports_the_key_of_a_mesh_once(folder: Path, capsys: Captured) -> None:
    (folder / "mesh.yaml").write_text(MESH)
    assert main(["check", "mesh.yaml", "--node", "vps"]) == 78
    err = capsys.readouterr().err
    assert err.count("meshes.lan.secret_file: there is no file") == 1
    assert "where the mesh's own key is" in err


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere no port can be shared")
def test_check_warns_once_of_a_port_to_share_that_no_program_has(
    folder: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as program:
        program.bind(("127.0.0.1", 0))
        port = program.getsockname()[1]
    assert main(["key", "new", "-o", "lan.key"]) == 0
    (folder / "site.yaml").write_text(
        'version: 1\ncontrol: {node: vps, address: "vps.example.net:10001"}\nmeshes:\n'
        f'  lan: {{secret_file: lan.key, share: on, local: ":{port}", nodes: [home, office, cabin],'
        " hooks: {up: [/bin/true]}}\n"
    )
    monkeypatch.setattr(raw_socket, "_open", refuse)
    assert main(["check", "site.yaml", "--node", "home"]) == 0
    told = capsys.readouterr().err
    assert told.count(f"no program of this host has UDP port {port} now") == 1
    assert told.count("as this user netpunch could not share the port: `share` needs") == 1
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as program:
        program.bind(("", port))
        assert main(["check", "site.yaml", "--node", "home"]) == 0
    assert "no program" not in capsys.readouterr().err


def refuse(_: int) -> socket.socket:
    raise PermissionsError("`share` needs CAP_NET_RAW")

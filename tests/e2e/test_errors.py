"""Bad input: one clear error each, the right exit code, and the other pairs go on."""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest

from tests.e2e.harness import free_port
from tests.e2e.site import Site

Prepare = Callable[[Site], None]


def broken(text: str) -> Prepare:
    """A site file with an error."""
    return lambda site: site.write_file("site.yaml", text)


NO_SECRET = """\
version: 1
control: {address: "127.0.0.1:10001"}
pairs:
  p: {a: {}, b: {}}
"""
UNKNOWN_KEY = NO_SECRET.replace("{a: {}", "{secret: generate, a: {lokal: x}")
ONE_PORT_TWICE = NO_SECRET.replace(
    "{a: {}, b: {}}", 'secret: generate\n    a: {local: ":5000"}\n    b: {local: ":5000"}'
).replace("p: secret", "p:\n    secret")


@pytest.mark.parametrize(
    ("prepare", "code", "complaint"),
    [
        (lambda site: None, 66, "site.yaml: No such file"),
        (broken("version: 1\npairs: {"), 78, "site.yaml:3:1: pairs: not valid YAML"),
        (broken("version: 1\n\tpairs: {}\n"), 78, "site.yaml:2:1: "),
        (broken(UNKNOWN_KEY), 78, "site.yaml:4:29: pairs.p.a.lokal: unknown key; did you mean"),
        (broken("version: 1\npairs: {}\n"), 78, "site.yaml:1:1: "),
        (broken(NO_SECRET), 78, "site.yaml:4:3: pairs.p: the pair has no secret"),
        (
            broken(ONE_PORT_TWICE),
            78,
            "pairs.p.b.local: pairs.p.a.local uses port 5000 on",
        ),
    ],
    ids=["missing", "half", "tab", "unknown key", "missing key", "no secret", "twice"],
)
def test_a_site_file_with_errors_is_refused(
    site: Site, prepare: Prepare, code: int, complaint: str
) -> None:
    prepare(site)
    program = site.run()
    assert program.wait_exit() == code, program.transcript()
    assert complaint in program.said
    assert program.lines == []


@pytest.mark.parametrize(
    ("options", "code", "complaint"),
    [
        (["--node", "nowhere"], 78, "no part runs on 'nowhere': choose one of home, office, vps"),
        (["--node", "home", "--pair", "q"], 64, "no pair or mesh 'q'"),
        (["--node", "home", "--once", "--keep"], 64, "not allowed with"),
        (["--colour"], 64, "unrecognized arguments: --colour"),
    ],
)
def test_wrong_options_of_run_are_usage_errors(
    site: Site, options: list[str], code: int, complaint: str
) -> None:
    site.write_nodes()
    program = site.run(*options)
    assert program.wait_exit() == code
    assert complaint in program.said
    assert "Traceback" not in program.said


def test_one_unusable_pair_does_not_stop_the_others(site: Site) -> None:
    """Each failure is reported once, with its reason; the gravest determines the exit code."""
    site.write_file("public.key", site.write_key("good.key"), 0o644)
    site.write_file("password.key", "hunter2\n", 0o600)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        site.write(
            {
                "good": {"secret_file": "good.key"},
                "missing": {"secret_file": "missing.key"},
                "public": {"secret_file": "public.key"},
                "password": {"secret_file": "password.key"},
                "taken": {
                    "secret_file": "good.key",
                    "deadline": "400ms",
                    "a": {"local": f"127.0.0.1:{port}"},
                },
            },
        )
        program = site.run()
        assert program.wait_exit() == 78
    assert {record["pair"] for record in program.events("pair.up")} == {"good"}
    failed = program.events("pair.failed")
    reasons = {(record["pair"], record["end"]): record["reason"] for record in failed}
    assert reasons == {
        ("missing", "a"): "configuration",
        ("missing", "b"): "configuration",
        ("public", "a"): "permissions",
        ("public", "b"): "permissions",
        ("password", "a"): "configuration",
        ("password", "b"): "configuration",
        ("taken", "a"): "port_in_use",
        ("taken", "b"): "partner_absent",
    }
    for complaint in (
        "missing.key: copy the other end",
        "public.key`",
        "not a v2 key",
        f"ss -ulpn 'sport = :{port}'",
    ):
        assert program.said.count(complaint) == 1, complaint
    assert "hunter2" not in program.transcript()


def test_a_control_whose_port_is_in_use_fails(site: Site) -> None:
    site.write_nodes()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", site.port))
        control = site.run_node("vps")
        assert control.wait_exit() == 75
    assert f"control vps: 127.0.0.1:{site.port} is in use" in control.said
    assert not control.events("pair.failed")
    failed = control.events("control.failed")[0]
    assert (failed["control"], failed["reason"]) == ("vps", "port_in_use")


def test_a_control_whose_second_port_is_in_use_fails(site: Site) -> None:
    """That port only serves to detect how NATs map."""
    site.write({"p": {}}, secret="generate")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", site.port + 1))
        program = site.run()
        assert program.wait_exit() == 0
    assert "warning: control control: " in program.said


def test_a_second_process_of_an_end_does_not_displace_the_first(site: Site) -> None:
    """It binds its port before it announces itself."""
    site.write_nodes({"a": {"local": f"127.0.0.1:{free_port()}"}})
    control, home = site.run_node("vps"), site.run_node("home")
    control.wait_for("control.registered")
    second = site.run_node("home")
    assert second.wait_exit() == 75
    assert second.events("pair.failed")[0]["reason"] == "port_in_use"
    office = site.run_node("office")
    assert (home.wait_exit(), office.wait_exit()) == (0, 0)
    assert len(control.events("control.registered", end="a")) == 1


def test_pair_and_once_link_only_that_pair_and_exit(site: Site) -> None:
    site.write({"p": {}, "q": {}}, secret="generate", mode="keep")
    program = site.run("--pair", "q", "--once")
    assert program.wait_exit() == 0
    assert {record["pair"] for record in program.events("pair.up")} == {"q"}


def test_keep_on_the_command_line_overrides_mode_once(site: Site) -> None:
    site.write({"p": {}}, secret="generate")
    program = site.run("--keep")
    program.wait_for("pair.up", 2)
    assert program.stop() == 0


def test_the_environment_names_the_node_of_run(site: Site) -> None:
    site.write_nodes()
    control = site.run(env={"NETPUNCH_NODE": "VPS"})
    assert control.wait_for("control.ready")["node"] == "vps"
    assert control.stop() == 0

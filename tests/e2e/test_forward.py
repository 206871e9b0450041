"""`forward`: the program at each end keeps its socket, whatever happens to the link."""

from __future__ import annotations

import contextlib
import signal
import socket
import time
from collections.abc import Iterator
from typing import Any

import pytest

from netpunch.config.auto_ports import AUTO_PORTS, SPARE_PORTS
from tests.e2e.assertions import assert_same_path
from tests.e2e.harness import EVENT_SECONDS, Netpunch, free_port
from tests.e2e.site import Settings, Site

QUICK: Settings = {"mode": "keep", "retry_after": "100ms", "keepalive": "100ms"}
REPEAT_SECONDS = 0.05
"""Programs over UDP repeat what is not answered."""
RELOADS = 9
PACE_SECONDS = 0.001
"""Between two datagrams of a program that sends steadily."""
OWN_SIZES = (128, 384)
"""Datagrams of these lengths could be netpunch's own."""


class Program:
    """A local program with one socket for its whole life, that sends to netpunch's port."""

    def __init__(self, sock: socket.socket, forward_port: int) -> None:
        self.sock = sock
        self.forward = ("127.0.0.1", forward_port)
        sock.settimeout(REPEAT_SECONDS)

    def send(self, data: bytes) -> None:
        self.sock.sendto(data, self.forward)

    def reaches(self, other: Program, data: bytes) -> None:
        """Send until it has arrived."""
        deadline = time.monotonic() + EVENT_SECONDS
        while time.monotonic() < deadline:
            self.send(data)
            with contextlib.suppress(TimeoutError):
                while True:
                    received, source = other.sock.recvfrom(65_535)
                    assert source == other.forward
                    if received == data:
                        return
        raise AssertionError(f"{len(data)} bytes did not arrive")


@contextlib.contextmanager
def programs(*forward_ports: int) -> Iterator[list[Program]]:
    with contextlib.ExitStack() as stack:
        found = []
        for port in forward_ports:
            sock = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            sock.bind(("127.0.0.1", 0))
            found.append(Program(sock, port))
        yield found


def pair_of(home: Program, office: Program) -> Settings:
    """The home program sends first; the one in the office only listens, at a given port."""
    to = f"127.0.0.1:{office.sock.getsockname()[1]}"
    listen = [f"127.0.0.1:{program.forward[1]}" for program in (home, office)]
    return {
        "a": {"forward": {"listen": listen[0]}},
        "b": {"forward": {"listen": listen[1], "to": to}},
    }


def start(site: Site, home: Program, office: Program, **settings: Any) -> tuple[Netpunch, Netpunch]:
    site.write_nodes(pair_of(home, office), **QUICK, **settings)
    site.run_node("vps")
    ends = site.run_node("home", env=site.runtime), site.run_node("office")
    for end in ends:
        end.wait_for("pair.up")
    return ends


def assert_free(*ports: int) -> None:
    """netpunch no longer holds any of these ports."""
    for port in ports:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as again:
            again.bind(("127.0.0.1", port))


def test_forward_passes_datagrams_both_ways(site: Site) -> None:
    with programs(free_port(), free_port()) as (home, office):
        ends = start(site, home, office)
        for size in (1, *OWN_SIZES, 1280, 60_000):
            home.reaches(office, b"q" * size)
            office.reaches(home, b"a" * size)
        assert not any(end.events("pair.down") for end in ends)
        assert [end.stop() for end in ends] == [0, 0]
        assert_free(home.forward[1], office.forward[1])


@pytest.mark.parametrize("victim", ["home", "office"])
def test_forward_goes_on_after_an_end_is_killed_and_restarted(site: Site, victim: str) -> None:
    """The programs keep their sockets, the other end its link, and its hook hears of the move."""
    with programs(free_port(), free_port()) as (home, office):
        at_home, in_office = start(site, home, office, hooks={"up": site.write_hook()})
        home.reaches(office, b"before")
        killed, other = (at_home, in_office) if victim == "home" else (in_office, at_home)
        killed.kill()
        again = site.run_node(victim)
        up, moved = again.wait_for("pair.up"), other.wait_for("pair.moved")
        assert moved["reason"] in ("partner_asked", "silent")
        assert_same_path(up, moved)
        home.reaches(office, b"after")
        office.reaches(home, b"after, too")
        survivor = "b" if victim == "home" else "a"
        site.wait_for_hooks(f"moved p {survivor} {moved['reason']}")
        assert not other.events("pair.down")
        assert (again.stop(), other.stop()) == (0, 0)


def test_a_sealed_forward_goes_on_with_another_key_after_an_end_is_restarted(site: Site) -> None:
    with programs(free_port(), free_port()) as (home, office):
        at_home, in_office = start(site, home, office, forward={"sealed": "on"})
        for size in (1, *OWN_SIZES, 1280, 60_000):
            home.reaches(office, b"q" * size)
            office.reaches(home, b"a" * size)
        in_office.kill()
        again = site.run_node("office")
        again.wait_for("pair.up")
        at_home.wait_for("pair.moved")
        home.reaches(office, b"after")
        office.reaches(home, b"after, too")
        assert (again.stop(), at_home.stop()) == (0, 0)


def test_ends_of_which_one_seals_do_not_link(site: Site) -> None:
    """No file says so, but two files may."""
    with programs(free_port(), free_port()) as (home, office):
        site.write_nodes(pair_of(home, office), **QUICK)
        site.run_node("vps").wait_for("control.ready")
        unsealed = site.run_node("office")
        unsealed.wait_for("pair.waiting")
        site.write_nodes(pair_of(home, office), **QUICK, forward={"sealed": "on"})
        sealed = site.run_node("home")
        for end in (sealed, unsealed):
            failed = end.wait_for("pair.failed")
            assert failed["reason"] == "partner_mode"
            assert "`forward: {sealed: on}` at both ends" in failed["err"]
        assert not sealed.events("pair.up")
        assert (sealed.stop(), unsealed.stop()) == (0, 0)


def test_what_forward_carries_is_counted_over_all_paths_of_a_link(site: Site) -> None:
    sent = b"q" * 1000
    with programs(free_port(), free_port()) as (home, office):
        at_home, in_office = start(site, home, office)
        home.reaches(office, sent)
        in_office.kill()
        again = site.run_node("office")
        at_home.wait_for("pair.moved")
        again.wait_for("pair.up")
        home.reaches(office, sent)
        office.reaches(home, b"answer")
        [end] = site.status()["pairs"]
        assert sum(end["moves"].values()) == 1
        assert end["sent_datagrams"] >= 2
        assert end["sent_bytes"] == end["sent_datagrams"] * len(sent)
        assert end["received_bytes"] == end["received_datagrams"] * len(b"answer") > 0
        assert (again.stop(), at_home.stop()) == (0, 0)


def arrived(program: Program, flags: int = 0) -> Iterator[bytes]:
    """The numbers received, until no more arrive; with MSG_DONTWAIT only those already there."""
    with contextlib.suppress(TimeoutError, BlockingIOError):
        while True:
            data = program.sock.recv(100, flags)
            if data.isdigit():
                yield data


def test_a_reload_of_other_pairs_loses_no_forwarded_datagram(site: Site) -> None:
    """Other pairs are added, changed and removed while both programs send."""
    with programs(free_port(), free_port()) as (home, office):
        pair = pair_of(home, office)
        site.write({"p": pair}, secret="generate", **QUICK)
        program = site.run()
        program.wait_for("pair.up", 2, pair="p")
        home.reaches(office, b"first")
        office.reaches(home, b"first, too")
        sent: list[bytes] = []
        heard: dict[Program, list[bytes]] = {home: [], office: []}
        for turn in range(RELOADS):
            beside: Settings = {"q": {"deadline": f"{10 + turn}s"}} if turn % 3 else {}
            site.write({"p": pair, f"r{turn}": {}} | beside, secret="generate", **QUICK)
            program.signal(signal.SIGHUP)
            while len(program.events("run.reload")) <= turn:
                sent.append(b"%d" % len(sent))
                home.send(sent[-1])
                office.send(sent[-1])
                time.sleep(PACE_SECONDS)
                for listener, numbers in heard.items():
                    numbers += arrived(listener, socket.MSG_DONTWAIT)
        for listener, numbers in heard.items():
            assert [*numbers, *arrived(listener)] == sent
        assert len(program.events("pair.up", pair="p")) == 2
        assert program.stop() == 0


def test_a_reload_gives_forward_other_ports_and_another_program(site: Site) -> None:
    """In one process: the old ports are free, and the old program receives nothing more."""
    with programs(*(free_port() for _ in range(4))) as (home, office, new_home, new_office):
        site.write({"p": pair_of(home, office)}, secret="generate", **QUICK)
        program = site.run()
        program.wait_for("pair.up", 2)
        home.reaches(office, b"old")
        office.reaches(home, b"old, too")
        site.write({"p": pair_of(new_home, new_office)}, secret="generate", **QUICK)
        site.reload(program)
        program.wait_for("pair.up", 4)
        assert_free(home.forward[1], office.forward[1])
        new_home.reaches(new_office, b"1")
        new_office.reaches(new_home, b"2")
        for old in (home, office):
            assert not [*arrived(old, socket.MSG_DONTWAIT)]
        assert program.stop() == 0


def test_a_reload_of_one_end_keeps_the_port_of_the_partners_program(site: Site) -> None:
    with programs(free_port(), free_port(), free_port()) as (home, office, new_home):
        at_home, in_office = start(site, home, office)
        home.reaches(office, b"old")
        site.write_nodes(pair_of(new_home, office), **QUICK)
        site.reload(at_home)
        at_home.wait_for("pair.up", 2)
        in_office.wait_for("pair.up", 2)
        assert_free(home.forward[1])
        new_home.reaches(office, b"new")
        office.reaches(new_home, b"new, too")
        assert [end.stop() for end in (at_home, in_office)] == [0, 0]


def test_forward_finds_a_program_that_was_restarted(site: Site) -> None:
    """The end without `to` learns the program's new port."""
    with programs(free_port(), free_port()) as (home, office):
        ends = start(site, home, office)
        home.reaches(office, b"first")
        with programs(home.forward[1]) as (restarted,):
            restarted.reaches(office, b"second")
            office.reaches(restarted, b"third")
        assert [end.stop() for end in ends] == [0, 0]


def test_forward_fails_if_its_port_is_in_use(site: Site) -> None:
    """It is reported, and retried until the port is free."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as owner:
        owner.bind(("127.0.0.1", free_port()))
        port = owner.getsockname()[1]
        pair: Settings = {
            "a": {"forward": {"listen": f"127.0.0.1:{port}"}},
            "b": {"forward": {"listen": f"127.0.0.1:{free_port()}"}},
        }
        site.write({"p": pair}, secret="generate", hooks=site.hooks(), **QUICK)
        program = site.run()
        failed = program.wait_for("pair.failed", end="a")
        assert str(port) in failed["err"]
        site.wait_for_hooks("before p a ", f"fail p a {failed['reason']}")
    program.wait_for("pair.up", end="a")
    assert program.stop() == 0


def test_forward_retries_a_program_name_that_does_not_resolve(site: Site) -> None:
    """It is not reported as a bug, and the message has the name."""
    to = f"program.invalid:{free_port()}"
    pair: Settings = {
        "a": {"forward": {"listen": f"127.0.0.1:{free_port()}", "to": to}},
        "b": {"forward": {"listen": f"127.0.0.1:{free_port()}"}},
    }
    site.write({"p": pair}, secret="generate", **QUICK)
    program = site.run()
    failed = program.wait_for("pair.failed", end="a")
    assert failed["reason"] == "unresolved"
    assert "forward.to: cannot resolve 'program.invalid'" in failed["err"]
    assert program.stop() == 0


def test_ports_that_netpunch_chooses_are_told_everywhere_and_outlast_reloads(site: Site) -> None:
    """Another program may have any of them: netpunch then takes a spare one."""
    auto: Settings = {
        "secret": "generate",
        "forward": {"listen": "auto"},
        "env_file": "{pair}.{end}.env",
        "files": [{"template": "t.in", "to": "{pair}.{end}.txt"}],
        **QUICK,
    }
    (site.folder / "t.in").write_text("Endpoint = {faddr}\n")
    site.write({"p": {}, "q": {}}, **auto)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as somebody:
        with contextlib.suppress(OSError):
            somebody.bind(("127.0.0.1", AUTO_PORTS[0]))
        program = site.run(env=site.runtime)
        told = {name: program.wait_for("pair.up", 2, pair=name) for name in "pq"}
    chosen = {}
    for end in site.status()["pairs"]:
        key = end["pair"], end["end"]
        chosen[key] = end["forward"]
        [up] = [
            record
            for record in program.events("pair.up", pair=end["pair"])
            if record["end"] == end["end"]
        ]
        assert up["forward"] == end["forward"]
    assert told
    assert len(set(chosen.values())) == 4
    host, _, spare = chosen["p", "a"].rpartition(":")
    assert (host, int(spare) in SPARE_PORTS) == ("127.0.0.1", True)
    program.wait_said(f"listening on {chosen['p', 'a']} instead")
    for (pair, end), where in chosen.items():
        program.wait_for("env.written", pair=pair, end=end)
        name = f"{pair}.{end}"
        assert f"NETPUNCH_FADDR={where}\n" in (site.folder / f"{name}.env").read_text()
        assert (site.folder / f"{name}.txt").read_text() == f"Endpoint = {where}\n"
    site.write({"first": {}, "q": {}, "p": {}}, **auto)
    site.reload(program)
    program.wait_for("pair.up", 2, pair="first")
    after = {(end["pair"], end["end"]): end["forward"] for end in site.status()["pairs"]}
    assert after.items() > chosen.items()
    assert len(set(after.values())) == 6
    assert not program.events("pair.down")
    assert program.stop() == 0

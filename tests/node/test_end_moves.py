"""Files and hooks follow a held link, one move at a time."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from netpunch.address import Address
from netpunch.core.events import Lost, Moved, MoveReason
from netpunch.errors import ResourcesError
from netpunch.net.punch import Punch
from netpunch.node.end_hooks import EndHooks
from netpunch.node.end_moves import Follower
from netpunch.node.end_reports import EndReports
from netpunch.node.publish import describe, publish
from tests.net.nodes import control, moves, spec
from tests.node.children import GATED, Run, on_both_loops, script
from tests.node.recorder import Recorder, end_with

pytestmark = on_both_loops

TIMEOUT = 20.0
ONE, TWO, THREE = (Address("192.0.2.1", port) for port in (1, 2, 3))
LOG = 'echo "$NETPUNCH_RADDR $NETPUNCH_CHANGED $NETPUNCH_PREV_RADDR $NETPUNCH_REASON" >>log'
KEY = bytes(range(32))


class HeldLink:
    """End a holds a link with b, and a follower follows it."""

    def __init__(self, folder: Path, attempt: Punch, partner: Punch, recorder: Recorder) -> None:
        self.folder = folder
        self.attempt = attempt
        self.partner = partner
        self.recorder = recorder
        self.first = Address("", 0)
        """The partner's address when it was linked."""
        self.following: asyncio.Task[object]
        self.follower: Follower

    async def moves(self, remote: Address, **more: Any) -> Moved:
        return await moves(self.attempt, remote, **more)

    async def told(self, count: int) -> list[str]:
        """What the hook has logged, once it has run so often."""
        await self.recorder.wait_for("hook.end", count)
        return (self.folder / "log").read_text().splitlines()

    @property
    def env_file(self) -> dict[str, str]:
        lines = (self.folder / "p.env").read_text().splitlines()
        return dict(line.split("=", 1) for line in lines)


@contextlib.asynccontextmanager
async def held(folder: Path, hook: str = LOG, **settings: Any) -> AsyncIterator[HeldLink]:
    """The link's `up` is over; the hook runs for its moves alone."""
    script(folder / "hook", hook)
    settings = {"hooks": {"up": ["./hook"]}, "env_file": "p.env"} | settings
    recorder = Recorder()
    end = end_with(folder, mode="keep", **settings)
    reports = EndReports(end, recorder.services)
    hooks = EndHooks(end, recorder.services)
    async with control() as address, asyncio.timeout(TIMEOUT):
        attempt = Punch(spec("a", address, holds=True), reports.observe)
        partner = Punch(spec("b", address, holds=True))
        for each in (attempt, partner):
            await each.open()
        linked, _ = [await each.linked() for each in (attempt, partner)]
        published = describe(end, linked, 0.0)
        reports.up(linked, published)
        await publish(published)
        link = HeldLink(folder, attempt, partner, recorder)
        link.first = linked.remote
        link.follower = Follower(end, hooks, reports, published)
        link.following = asyncio.create_task(link.follower.follow(link.attempt))
        try:
            yield link
        finally:
            hooks.stop(gently=False)
            link.following.cancel()
            await asyncio.wait([link.following])
            for each in (attempt, partner):
                await each.close()


def test_files_are_written_before_the_hook_hears_of_a_move(run: Run[Any], tmp_path: Path) -> None:
    """It finds them as they are with the new path, and the event on its standard input."""
    (tmp_path / "vpn.in").write_text("to {rhost} {rport}")
    files = [{"template": "vpn.in", "to": "vpn.conf"}]
    hook = f"{LOG}; cat p.env vpn.conf >seen; cat >event"

    async def main() -> None:
        async with held(tmp_path, hook, files=files, template="{raddr}") as link:
            await link.moves(ONE, reason=MoveReason.WOKE)
            assert await link.told(1) == [f"{ONE} 1 {link.first} woke"]
            assert f"NETPUNCH_RADDR={ONE}\n" in (tmp_path / "seen").read_text()
            assert "to 192.0.2.1 1" in (tmp_path / "seen").read_text()
            event = json.loads((tmp_path / "event").read_text())
            assert (event["event"], event["raddr"]) == ("pair.moved", str(ONE))
            events = link.recorder.events()
            wanted = ["pair.up", "pair.moved", "env.written", "hook.start"]
            assert [each for each in events if each in wanted] == wanted
            assert link.follower.published.text == str(ONE)

    run(main())


def test_a_move_that_programs_need_not_know_is_told_as_such(run: Run[Any], tmp_path: Path) -> None:
    """The partner was restarted at the same address."""

    async def main() -> None:
        async with held(tmp_path) as link:
            await link.moves(link.first, reason=MoveReason.PARTNER_ASKED)
            assert await link.told(1) == [f"{link.first} 0 {link.first} partner_asked"]

    run(main())


def test_moves_while_the_hook_runs_are_folded_into_the_latest(
    run: Run[Any], tmp_path: Path
) -> None:
    """Each is reported. Hooks never overlap, and each is told what is new to it."""
    hook = f'{LOG}; [ "$NETPUNCH_RADDR" != {ONE} ] || {{ {GATED}; }}'

    async def main() -> None:
        async with held(tmp_path, hook) as link:
            await link.moves(ONE)
            await link.recorder.wait_for("hook.output")
            await link.moves(TWO, previous=ONE)
            await link.moves(THREE, previous=TWO)
            assert len(link.recorder.of("pair.moved")) == 3
            (tmp_path / "open").touch()
            assert await link.told(2) == [f"{ONE} 1 {link.first} silent", f"{THREE} 1 {ONE} silent"]
            starts = [each for each in link.recorder.events() if each in ("hook.start", "hook.end")]
            assert starts == ["hook.start", "hook.end"] * 2
            assert link.env_file["NETPUNCH_RADDR"] == str(THREE)

    run(main())


def test_a_link_that_moved_there_and_back_during_a_hook_has_not_changed(
    run: Run[Any], tmp_path: Path
) -> None:
    async def main() -> None:
        async with held(tmp_path, f"{LOG}; {GATED}") as link:
            await link.moves(ONE)
            await link.recorder.wait_for("hook.output")
            for remote in (TWO, ONE):
                await link.moves(remote)
            (tmp_path / "open").touch()
            assert (await link.told(2))[1] == f"{ONE} 0 {ONE} silent"

    run(main())


def test_a_hook_that_fails_ends_no_link_and_hears_all_the_next_time(
    run: Run[Any], tmp_path: Path
) -> None:
    """It is reported, and not repeated by itself."""

    async def main() -> None:
        async with held(tmp_path, f"{LOG}; [ ! -e broken ]", retry_after="10ms") as link:
            (tmp_path / "broken").touch()
            await link.moves(ONE)
            stale = await link.recorder.wait_for("pair.stale")
            err = f"hook moved: {tmp_path}/./hook: exit status 1"
            assert stale == {"pair": "p", "end": "a", "reason": "hook", "err": err}
            assert link.recorder.said[-1].startswith("error: p a: moved, but ")
            await asyncio.sleep(0.05)
            assert len(await link.told(1)) == 1
            (tmp_path / "broken").unlink()
            await link.moves(link.first)
            assert (await link.told(2))[1] == f"{link.first} 1 {link.first} silent"
            assert link.env_file["NETPUNCH_RADDR"] == str(link.first)
            assert not link.following.done()

    run(main())


def test_a_hook_that_asks_to_be_called_later_is(run: Run[Any], tmp_path: Path) -> None:
    async def main() -> None:
        hook = f"{LOG}; [ ! -e busy ] || exit 75"
        async with held(tmp_path, hook, retry_after="10ms") as link:
            (tmp_path / "busy").touch()
            await link.moves(ONE)
            await link.told(2)
            (tmp_path / "busy").unlink()
            while link.recorder.of("hook.end")[-1]["outcome"] != "done":
                await link.recorder.wait_for("hook.end", len(link.recorder.of("hook.end")) + 1)
            lines = await link.told(1)
            assert set(lines) == {f"{ONE} 1 {link.first} silent"}
            assert len(link.recorder.of("pair.stale")) == 1
            count = len(lines)
            await asyncio.sleep(0.05)
            assert len(await link.told(1)) == count

    run(main())


def test_files_that_cannot_be_written_are_tried_again_and_the_hook_waits_for_them(
    run: Run[Any], tmp_path: Path
) -> None:
    """Meanwhile there is no env file, as its path is gone."""
    (tmp_path / "vpn.in").write_text("to {raddr}")
    files = [{"template": "vpn.in", "to": "vpn.conf"}]

    async def main() -> None:
        async with held(tmp_path, files=files, retry_after="10ms") as link:
            (tmp_path / "vpn.conf").unlink()
            (tmp_path / "vpn.conf").mkdir()
            await link.moves(ONE)
            stale = await link.recorder.wait_for("pair.stale")
            assert (stale["reason"], "vpn.conf" in stale["err"]) == ("output", True)
            assert not (tmp_path / "p.env").exists()
            assert not link.recorder.of("hook.start")
            (tmp_path / "vpn.conf").rmdir()
            assert await link.told(1) == [f"{ONE} 1 {link.first} silent"]
            assert (tmp_path / "vpn.conf").read_text() == f"to {ONE}"
            assert link.env_file["NETPUNCH_RADDR"] == str(ONE)

    run(main())


def test_a_lack_of_resources_is_tried_again(
    run: Run[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bytes | None] = []

    async def main() -> None:
        async with held(tmp_path, retry_after="10ms", session_key=True) as link:
            run_hook = EndHooks.moved

            async def moved(hooks: EndHooks, *link: Any, **more: Any) -> Any:
                asked.append(more["session_key"])
                if len(asked) == 1:
                    raise ResourcesError("no file for the session key: too many open files")
                return await run_hook(hooks, *link, **more)

            monkeypatch.setattr(EndHooks, "moved", moved)
            await link.moves(ONE, session_key=KEY)
            assert await link.told(1) == [f"{ONE} 1 {link.first} silent"]
            assert asked == [KEY, KEY]
            [stale] = link.recorder.of("pair.stale")
            assert stale["reason"] == "resources"

    run(main())


def test_a_loss_waits_for_the_hook_and_overtakes_moves_that_wait(
    run: Run[Any], tmp_path: Path
) -> None:
    """`down` then gets the path that programs were told of."""

    async def main() -> None:
        async with held(tmp_path, f"{LOG}; {GATED}") as link:
            await link.moves(ONE)
            await link.recorder.wait_for("hook.output")
            await link.moves(TWO)
            await link.partner.close()
            await asyncio.sleep(0.05)
            assert not link.following.done()
            (tmp_path / "open").touch()
            assert isinstance(await link.following, Lost)
            assert len(await link.told(1)) == 1
            assert link.follower.published.variables["NETPUNCH_RADDR"] == str(ONE)

    run(main())


def test_a_stop_terminates_the_hook_of_a_move(run: Run[Any], tmp_path: Path) -> None:
    """The env file stays: it has the path that is in use."""

    async def main() -> None:
        async with held(tmp_path, GATED) as link:
            await link.moves(ONE)
            await link.recorder.wait_for("hook.output")
        assert link.recorder.of("hook.end")[-1]["outcome"] == "stopped"
        assert link.env_file["NETPUNCH_RADDR"] == str(ONE)

    run(main())


FLAPS = 40
FICKLE = """
echo "begin $NETPUNCH_RADDR" >>log
sleep 0.0$(($(od -An -N1 -tu1 /dev/urandom) % 4))
[ $(($(od -An -N1 -tu1 /dev/urandom) % 4)) -gt 0 ] || { echo later >>log; exit 75; }
grep -qx "NETPUNCH_RADDR=$NETPUNCH_RADDR" p.env || { echo stale >>log; exit 1; }
echo "end $NETPUNCH_RADDR" >>log
"""
"""It takes a while, asks now and then to be called later, and wants to find its path in the env
file."""


def test_a_link_that_flaps_is_told_as_it_is_in_the_end(run: Run[Any], tmp_path: Path) -> None:
    """However long the hooks take and whatever they say, one runs at a time, for a path that the
    env file has, and the last one for the last path."""
    pauses = random.Random(11)

    async def main() -> None:
        async with held(tmp_path, FICKLE, retry_after="10ms") as link:
            for port in range(1, FLAPS + 1):
                last = await link.moves(Address("192.0.2.1", port))
                await asyncio.sleep(pauses.choice((0.0, 0.0, 0.01, 0.04)))
            ended = 0
            while (tmp_path / "log").read_text().splitlines()[-1] != f"end {last.remote}":
                ended += 1
                await link.recorder.wait_for("hook.end", ended)
            assert len(link.recorder.of("pair.moved")) == FLAPS
            assert len(link.recorder.of("hook.start")) < FLAPS, "most are folded"
        lines = (tmp_path / "log").read_text().splitlines()
        assert len(lines) % 2 == 0
        for begin, end in zip(lines[::2], lines[1::2], strict=True):
            assert begin.startswith("begin ")
            assert end in ("later", begin.replace("begin", "end"))

    run(main())


def test_a_link_without_hook_and_files_just_moves(run: Run[Any], tmp_path: Path) -> None:
    async def main() -> None:
        async with held(tmp_path, hooks={}, env_file="off") as link:
            await link.moves(ONE)
            await link.partner.close()
            assert isinstance(await link.following, Lost)
            assert "env.written" not in link.recorder.events()

    run(main())
    assert not list(tmp_path.glob("*.env"))

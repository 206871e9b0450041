"""netpunch.start_control on real sockets: pairs that come and go, and what a program hears."""

from __future__ import annotations

import asyncio
import contextlib
import random
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import netpunch
from netpunch import Address, Control, Expired, Registered, UsageError
from netpunch.api.control_events import EVENTS_KEPT
from netpunch.core.events import AuthRejected
from netpunch.net.tls_certificate import self_signed
from netpunch.wire import v2
from netpunch.wire.envelope import ControlChannel
from netpunch.wire.keys import pair_tag
from tests.core.v2_pair import CONTROL_KEY, PAIR, SECRET, Voice, read, seal
from tests.net.conftest import TIMEOUT, Run, open_descriptors
from tests.net.machines import Client, client, port_is_free
from tests.net.nodes import LOCAL
from tests.net.tls_peer import tls_peer

CANCELLATIONS = 20
SILENCE = 0.1
"""Seconds: what is not answered on loopback by then is not answered."""
NOWHERE = Address("192.0.2.9", 9)
"""A Voice's own idea of its address, which it does not need here."""


def start(**more: Any) -> netpunch.StartingControl:
    default: dict[str, Any] = {"listen": LOCAL, "observe": False}
    return netpunch.start_control(**default | more)


async def link(control: Control, pair: str, secret: bytes = SECRET, **more: Any) -> None:
    """Both ends, as two programs would."""
    asked = str(control.addresses[0])
    common: dict[str, Any] = {"secret": secret, "control": asked, "local": LOCAL} | more
    a, b = await asyncio.gather(*(netpunch.punch(pair=pair, end=e, **common) for e in "ab"))
    assert (a.local, a.remote) == (b.remote, b.local)


async def is_silent(control: Control, pair: str, secret: bytes = SECRET, **more: Any) -> bool:
    with pytest.raises(netpunch.ControlUnreachableError):
        await link(control, pair, secret, deadline=SILENCE, **more)
    return True


async def register(end: Client, voice: Voice, control: Control) -> None:
    for _ in range(2):
        answer, _ = await end.ask(voice.announcement(), control.addresses[0])
        voice.cookie = getattr(read(answer), "cookie", voice.cookie)


async def hears(end: Client, data: bytes, control: Control) -> bool:
    """Whether control answers."""
    end.send(data, control.addresses[0])
    try:
        async with asyncio.timeout(SILENCE):
            await end.receive()
    except TimeoutError:
        return False
    return True


# Starting and ending.


def test_a_control_is_started_by_await_and_closed(run: Run) -> None:
    async def main() -> None:
        control = await start()
        (address,) = control.addresses
        assert not port_is_free(address.port, address.host)
        waiting = asyncio.create_task(control.wait_closed())
        for _ in range(2):
            await control.aclose()
        await waiting
        assert port_is_free(address.port, address.host)

    run(main())


def test_a_control_is_closed_at_the_end_of_its_block(run: Run) -> None:
    async def main() -> None:
        async with start() as control:
            (first,) = control.addresses
        async with await start() as control:
            (second,) = control.addresses
        assert all(port_is_free(each.port, each.host) for each in (first, second))

    run(main())


def test_a_call_starts_one_control(run: Run) -> None:
    async def main() -> None:
        starting = start()
        control = await starting
        with pytest.raises(UsageError, match="started before"):
            await starting
        await control.aclose()

    run(main())


def test_a_closed_control_says_so(run: Run) -> None:
    async def main() -> None:
        async with start(pairs={"p": SECRET}) as control:
            (address,) = control.addresses
            assert repr(control) == f"<Control at {address}, 1 pairs, 0 ends here>"
        assert repr(control) == "<Control, closed>"
        for call in (
            lambda: control.add_pair("q", SECRET),
            lambda: control.rekey_pair("p", SECRET),
            lambda: control.remove_pair("p"),
            control.events,
            control.reload_certificate,
        ):
            with pytest.raises(UsageError, match="this control is closed"):
                call()

    run(main())


def test_a_port_that_is_taken_is_named_and_nothing_stays_open(run: Run) -> None:
    async def main() -> None:
        with client() as taken:
            at = str(taken.address)
            for wrong in ({"listen": [LOCAL, at]}, {"observe": [LOCAL, at]}, {"relay": at}):
                before = open_descriptors()
                with pytest.raises(netpunch.PortInUseError, match=at):
                    await start(**wrong)
                assert open_descriptors() == before

    run(main())


def test_an_address_that_the_host_lacks_is_named(run: Run) -> None:
    async def main() -> None:
        for key in ("listen", "observe", "relay"):
            with pytest.raises(netpunch.NetworkNotReadyError, match=r"203\.0\.113\.1:1"):
                await start(**{key: "203.0.113.1:10001"})

    run(main())


def test_control_observes_at_the_next_port_if_it_is_free(run: Run) -> None:
    async def main() -> None:
        async with start(observe=True, pairs={PAIR: CONTROL_KEY}) as control:
            (address,), (second,) = control.addresses, control.observe_addresses
            assert second == Address(address.host, address.port + 1)
            observe = seal(
                ControlChannel(CONTROL_KEY, PAIR, "a").to_control, v2.Observe(b"12345678")
            )
            with client() as end:
                answer, source = await end.ask(observe, second)
                assert (read(answer), source) == (v2.Observed(b"12345678", end.address), second)
            async with start(listen=str(address).replace("127.0.0.1", "127.0.0.2")) as other:
                assert other.observe_addresses == ()
            async with start(listen=[LOCAL, LOCAL], observe=LOCAL) as other:
                assert (len(other.addresses), len(other.observe_addresses)) == (2, 1)

    run(main())


def test_a_control_cancelled_at_any_moment_leaves_nothing_open(run: Run) -> None:
    """In its block, in `aclose`, and while it looks names up."""
    moments = random.Random(5)

    async def serve(rounds: int) -> None:
        for _ in range(rounds):
            async with start(relay=LOCAL, tls=LOCAL, public="localhost", pairs={"p": SECRET}) as c:
                c.add_pair("q", SECRET)
                listening = asyncio.create_task(anext(c.events()))
                listening.cancel()
                c.remove_pair("p")
                await asyncio.sleep(0.001)

    async def main() -> None:
        await serve(1)
        tasks, descriptors = asyncio.all_tasks(), open_descriptors()
        for _ in range(CANCELLATIONS):
            serving = asyncio.create_task(serve(100))
            await asyncio.sleep(moments.uniform(0, 0.01))
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)
            await asyncio.sleep(0)
            assert asyncio.all_tasks() == tasks
        await asyncio.sleep(0.05)  # a look-up ends in its thread
        assert open_descriptors() == descriptors

    run(main())


class Proactor(asyncio.SelectorEventLoop):
    """As the default loop of Windows, it watches no sockets."""

    add_reader = asyncio.AbstractEventLoop.add_reader


def test_a_loop_that_watches_no_sockets_is_named_and_nothing_stays_open() -> None:
    async def main() -> None:
        before = open_descriptors()
        with pytest.raises(UsageError, match=r"\(Proactor\) can't watch .* netpunch\.run\(\)"):
            await start(relay=LOCAL, observe=LOCAL)
        with pytest.raises(UsageError, match="can't watch sockets"):
            await netpunch.punch(
                pair=PAIR, end="a", secret=SECRET, control="127.0.0.1:9", local=LOCAL
            )
        assert open_descriptors() == before

    asyncio.SelectorEventLoop().close()
    with asyncio.Runner(loop_factory=Proactor) as runner:
        runner.run(main())


# Pairs.


def test_a_pair_links_from_when_it_is_added_until_it_is_removed(run: Run) -> None:
    async def main() -> None:
        async with start(pairs={"other": netpunch.control_key(SECRET, "other")}) as control:
            assert await is_silent(control, PAIR)
            control.add_pair(PAIR, CONTROL_KEY)
            assert sorted(control.pairs) == [PAIR, "other"]
            await link(control, PAIR)
            control.remove_pair(PAIR)
            assert PAIR not in control.pairs
            assert await is_silent(control, PAIR)
            await link(control, "other")

    run(main())


@pytest.mark.parametrize("kind", ["bytes", "npc1", "npk1", "file"])
def test_a_key_may_be_bytes_text_or_a_file(run: Run, kind: str, tmp_path: Path) -> None:
    pair_key = netpunch.new_key()
    control_key = netpunch.control_key(pair_key, PAIR)
    file = tmp_path / "key"
    file.write_text(control_key)
    file.chmod(0o600)
    key = {
        "bytes": netpunch.load_control_key(control_key, PAIR),
        "npc1": control_key,
        "npk1": pair_key,
        "file": file,
    }[kind]

    async def main() -> None:
        async with start() as control:
            control.add_pair(PAIR, key)  # type: ignore[arg-type]
            await link(control, PAIR, netpunch.load_key(pair_key))

    run(main())


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda c: c.add_pair("home", SECRET), "name: 'home' is served already: remove_pair"),
        (lambda c: c.add_pair("Home Two", SECRET), r"name: .*\(did you mean 'home-two'\?\)"),
        (lambda c: c.add_pair("new", "npk1:x"), "key: damaged key"),
        (lambda c: c.add_pair("new", b"x"), "key: expected a v2 key: 32 bytes, .* got 1 bytes"),
        (lambda c: c.add_pair("new", SECRET, other_key=SECRET), "other_key: expected another key"),
        (lambda c: c.add_pair("new", SECRET, other_key=b"x"), "other_key: expected a v2 key"),
        (
            lambda c: c.add_pair("new"),
            r"add_pair\(\): missing a required argument: 'key'; it takes",
        ),
        (lambda c: c.add_pair("new", SECRET, slot="a-b"), "no argument 'slot'; did you mean slots"),
        (lambda c: c.add_pair("new", b"x", slots="a-c"), "does not pair these letters"),
        (lambda c: c.add_pair("new", b"x", slots=1), "slots: expected the two slots .*, got 1"),
        (lambda c: c.add_pair("new", b"x", slots="y-z"), "slot 'y' belongs to pair 'garage'"),
        (lambda c: c.add_pair("new", b"x", slots="a-b", other_key=b"y"), "has one secret"),
        (lambda c: c.add_pair("new", "x", slots="a-b"), "key: .* got a text: encode it"),
        (lambda c: c.remove_pair("hone"), r"pair that is served, got 'hone' \(did you mean 'home'"),
        (lambda c: c.remove_pair(None), "name: expected the name of a pair that is served, got No"),
        (lambda c: c.remove_pair(), r"remove_pair\(\): missing a required argument: 'name'"),
        (lambda c: c.rekey_pair("zzz", SECRET), "name: expected the name of a pair .* got 'zzz'$"),
        (lambda c: c.rekey_pair("garage", SECRET), "name: 'garage' is a classic pair: remove it"),
        (lambda c: c.rekey_pair("home", b"x"), "key: expected a v2 key"),
        (lambda c: c.reload_certificate(), "without `tls_certificate`"),
    ],
)
def test_wrong_arguments_change_nothing(call: Any, said: str) -> None:
    async def main() -> None:
        async with start(pairs={"home": SECRET}) as control:
            control.add_pair("garage", b"secret", slots="y-z")
            with pytest.raises(UsageError, match=said):
                call(control)
            assert list(control.pairs) == ["home", "garage"]
            assert repr(control.pairs) == "<2 pairs>"

    asyncio.run(main())


ODD = [
    None,
    True,
    5,
    1.5,
    b"",
    b"x",
    "",
    "\ud800",
    "a\0b",
    [],
    {},
    object(),
    Path("a\0b"),
    Path("/"),
]


@pytest.mark.parametrize("value", ODD, ids=lambda value: type(value).__name__)
def test_no_value_raises_anything_but_errors_of_netpunch(value: Any) -> None:
    async def main() -> None:
        async with start(pairs={"home": SECRET}) as control:
            calls: list[Callable[[], None]] = [
                lambda: control.add_pair(value, SECRET),
                lambda: control.add_pair("new", value),
                lambda: control.add_pair("new", b"x", slots=value or "?"),
                lambda: control.add_pair("new", value, slots="y-z"),
                lambda: control.add_pair("new", SECRET, other_key=value or b""),
                lambda: control.rekey_pair(value, SECRET),
                lambda: control.rekey_pair("home", value),
                lambda: control.remove_pair(value),
            ]
            for call in calls:
                with contextlib.suppress(netpunch.NetpunchError):
                    call()
                if "new" in control.pairs:
                    control.remove_pair("new")
            assert list(control.pairs) == ["home"]

    asyncio.run(main())


@pytest.mark.parametrize("path", ["a\0b", "\ud800", "/", "/dev/null"])
def test_no_path_raises_anything_but_errors_of_netpunch(path: str) -> None:
    async def main() -> None:
        with pytest.raises(netpunch.NetpunchError):
            await start(relay=LOCAL, tls=LOCAL, tls_certificate=Path(path))
        with pytest.raises(netpunch.NetpunchError):
            start(pairs={"p": Path(path)})

    asyncio.run(main())


def test_there_is_a_bound_on_pairs() -> None:
    with pytest.raises(netpunch.ResourcesError, match=r"pairs: expected at most 1, .* got 2"):
        start(pairs={"p": SECRET, "q": SECRET}, max_pairs=1)

    async def main() -> None:
        async with start(max_pairs=2) as control:
            for name in ("p", "q"):
                control.add_pair(name, SECRET)
            with pytest.raises(netpunch.ResourcesError, match="2 pairs are served, as many as `ma"):
                control.add_pair("r", SECRET)
            control.remove_pair("p")
            control.add_pair("r", SECRET)
            assert list(control.pairs) == ["q", "r"]

    asyncio.run(main())


def test_classic_pairs_come_and_go_on_the_same_port(run: Run) -> None:
    async def classic_link(control: Control, slots: str, **more: Any) -> None:
        at = str(control.addresses[0])
        punches = (
            netpunch.punch(
                end=each, secret=b"x", control=at, local=LOCAL, protocol="classic", **more
            )
            for each in slots
        )
        a, b = await asyncio.gather(*punches)
        assert (a.local, a.remote) == (b.remote, b.local)

    async def main() -> None:
        async with start(pairs={PAIR: CONTROL_KEY}, classic={"ab": b"x"}) as control:
            control.add_pair("garage", b"x", slots="c-d")
            assert list(control.pairs) == [PAIR, "a-b", "garage"]
            await asyncio.gather(
                classic_link(control, "cd"), classic_link(control, "ab"), link(control, PAIR)
            )
            seen = [who for who in control.registered if who[0] == "garage"]
            assert seen == [("garage", "a"), ("garage", "b")]
            assert all(control.registered[who].address.host == "127.0.0.1" for who in seen)
            control.remove_pair("garage")
            assert "garage" not in {pair for pair, _end in control.registered}
            with pytest.raises(netpunch.ControlUnreachableError):
                await classic_link(control, "cd", deadline=SILENCE)
            assert "a-b" in control.pairs

    run(main())


def test_a_key_is_rotated_without_a_registration_lost(run: Run) -> None:
    new = bytes(32)

    async def main() -> None:
        async with start(pairs={PAIR: CONTROL_KEY}) as control:
            with client() as end:
                await register(end, Voice("a", NOWHERE, b"attempt1"), control)
                before = dict(control.registered)
                control.rekey_pair(PAIR, new, other_key=CONTROL_KEY)
                assert control.registered == before != {}
                control.rekey_pair(PAIR, new)
                assert control.registered == {}

    run(main())


# Attacks.


def test_what_was_recorded_of_a_removed_pair_gets_silence_and_registers_nobody_later(
    run: Run,
) -> None:
    async def main() -> None:
        async with start(pairs={PAIR: CONTROL_KEY}) as control:
            with client() as end:
                voice = Voice("a", NOWHERE, b"attempt1")
                await register(end, voice, control)
                recorded = [voice.announcement() for _ in range(3)]
                control.remove_pair(PAIR)
                for data in recorded:
                    assert not await hears(end, data, control)
                control.add_pair(PAIR, CONTROL_KEY)
                for data in recorded:
                    await hears(end, data, control)
                assert control.registered == {}

    run(main())


def test_two_names_with_the_same_key_are_kept_apart(run: Run) -> None:
    """Each pair should have its own, but a datagram names its pair, and that is authenticated."""

    async def main() -> None:
        async with start(pairs={PAIR: CONTROL_KEY, "other": CONTROL_KEY}) as control:
            events = control.events()
            data = Voice("a", NOWHERE, b"attempt1").announcement()
            renamed = data.replace(pair_tag(PAIR), pair_tag("other"))
            assert renamed != data
            with client() as end:
                assert not await hears(end, renamed, control)
                assert await anext(events) == AuthRejected("bad_mac", 1, "other", end.address)
                assert await hears(end, data, control)

    run(main())


# What a program hears.


def test_a_program_hears_who_registers_and_who_is_gone(run: Run) -> None:
    heard: list[netpunch.ControlEvent] = []

    async def main() -> None:
        async with start(pairs={PAIR: CONTROL_KEY}, on_event=heard.append) as control:
            events = control.events()
            with client() as end:
                voice = Voice("a", NOWHERE, b"attempt1")
                await register(end, voice, control)
                assert await anext(events) == Registered(PAIR, "a", end.address)
                ((who, where),) = control.registered.items()
                assert (who, where.address) == ((PAIR, "a"), end.address)
                assert 0 <= time.monotonic() - where.since < TIMEOUT
                assert control.registered[PAIR, "a"] == where
                for nobody in ((PAIR, "b"), (PAIR, "c"), ("other", "a"), ("\ud800", "a")):
                    assert nobody not in control.registered
                assert repr(control.registered) == "<1 registered ends>"
                end.send(voice.leave(), control.addresses[0])
                assert await anext(events) == Expired(PAIR, "a", left=True)
                assert control.registered == {}
                voice = Voice("b", NOWHERE, b"attempt2")
                await register(end, voice, control)
                control.remove_pair(PAIR)
                assert control.registered == {}
            assert control.registered == {}
        rest = [event async for event in events]
        assert rest == [Registered(PAIR, "b", end.address), Expired(PAIR, "b", removed=True)]
        assert heard[2:] == rest

    run(main())


def test_events_that_nobody_takes_are_bounded_and_counted(run: Run) -> None:
    async def main() -> None:
        async with start() as control:
            events, ignored = control.events(), control.events()
            for number in range(EVENTS_KEPT + 10):
                control._announcer.observe(Expired(f"p{number}", "a"))
            assert events.dropped == 10
            assert await anext(events) == Expired("p10", "a")
            del ignored
            assert len(control._announcer._streams) == 1

    run(main())


def test_a_program_may_remove_the_pair_that_it_hears_of(run: Run) -> None:
    async def main() -> None:
        def on_event(event: netpunch.ControlEvent) -> None:
            if isinstance(event, Registered):
                control.remove_pair(event.pair)
            elif isinstance(event, Expired):
                gone.set()

        gone = asyncio.Event()
        channel = ControlChannel(CONTROL_KEY, PAIR, "a")
        async with start(pairs={PAIR: CONTROL_KEY}, on_event=on_event) as control:
            with client() as end:
                await register(end, Voice("a", NOWHERE, b"attempt1"), control)
                await gone.wait()
                assert not await hears(end, seal(channel.to_control, v2.Observe(bytes(8))), control)
            assert list(control.pairs) == []

    run(main())


def test_what_a_program_raises_disturbs_nobody(run: Run) -> None:
    def on_event(event: netpunch.ControlEvent) -> None:
        raise ValueError("mine")

    async def main() -> None:
        complaints: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, c: complaints.append(c))
        async with start(pairs={PAIR: CONTROL_KEY}, on_event=on_event) as control:
            await link(control, PAIR)
        assert complaints
        assert {str(each["exception"]) for each in complaints} == {"mine"}
        assert complaints[0]["message"] == "netpunch: the program's on_event failed"

    run(main())


# Relay and TLS.


def test_ends_learn_of_the_relay(run: Run) -> None:
    async def main() -> None:
        async with start(pairs={PAIR: CONTROL_KEY}, relay=":0") as control:
            port = control.relay_addresses[0].port
            observe = seal(
                ControlChannel(CONTROL_KEY, PAIR, "a").to_control, v2.Observe(b"12345678")
            )
            with client() as end:
                answer, _ = await end.ask(observe, control.addresses[0])
                assert read(answer) == v2.Observed(b"12345678", end.address, port)

    run(main())


def test_an_end_registers_over_tls_until_its_pair_is_removed(run: Run) -> None:
    async def main() -> None:
        async with start(pairs={PAIR: CONTROL_KEY}, relay=LOCAL, tls=LOCAL) as control:
            assert control.tls_address is not None
            async with tls_peer(control.tls_address) as peer:
                await peer.register(Voice("a", NOWHERE, b"attempt1"))
                assert control.registered[PAIR, "a"].address == peer.address
                control.remove_pair(PAIR)
                assert control.registered == {}
                await peer.is_closed()

    run(main())


def test_a_certificate_is_read_again(run: Run, tmp_path: Path) -> None:
    certificate = tmp_path / "vps.pem"
    certificate.write_bytes(self_signed("before"))

    async def shown(control: Control) -> bytes | None:
        assert control.tls_address is not None
        async with tls_peer(control.tls_address) as peer:
            tls = peer.writer.get_extra_info("ssl_object")
            assert isinstance(tls, ssl.SSLObject)
            return tls.getpeercert(binary_form=True)

    async def main() -> None:
        async with start(relay=LOCAL, tls=LOCAL, tls_certificate=certificate) as control:
            before = await shown(control)
            certificate.write_text("damaged")
            with pytest.raises(netpunch.ConfigurationError, match=r"vps\.pem"):
                control.reload_certificate()
            assert await shown(control) == before
            certificate.write_bytes(self_signed("after"))
            control.reload_certificate()
            assert await shown(control) != before

    run(main())


def test_a_certificate_that_is_missing_is_named_and_nothing_stays_open(
    run: Run, tmp_path: Path
) -> None:
    async def main() -> None:
        before = open_descriptors()
        with pytest.raises(netpunch.MissingFileError, match=r"nowhere\.pem"):
            await start(relay=LOCAL, tls=LOCAL, tls_certificate=tmp_path / "nowhere.pem")
        assert open_descriptors() == before

    run(main())

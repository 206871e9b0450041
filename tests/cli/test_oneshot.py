"""netpunch.cli.oneshot: the options that `control` and `peer` share; a signal ends their work."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from netpunch.cli import main
from netpunch.cli.oneshot import until_stopped
from netpunch.net.loop import run


@pytest.mark.parametrize("command", ["control", "peer a --remote 192.0.2.1:7777"])
@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ("--protocol v2", "--protocol v2 needs --pair NAME"),
        ("--pair home-office", "--pair is for --protocol v2; classic pairs are letters"),
        ("--protocol v3", "invalid choice: 'v3'"),
        ("--protocol v2 --pair Home", "invalid pair name 'Home'"),
    ],
)
def test_a_pair_is_named_in_v2_only(
    command: str, options: str, complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    line = f"{command} --secret-file F --local 127.0.0.1:0 {options}"
    assert main(line.split()) == 64
    assert complaint in capsys.readouterr().err


@pytest.mark.parametrize("command", ["control", "peer a --remote 192.0.2.1:7777"])
@pytest.mark.parametrize("missing", ["--secret-file F", "--local :5000"])
def test_secret_file_and_local_are_required(
    command: str, missing: str, capsys: pytest.CaptureFixture[str]
) -> None:
    line = f"{command} --secret-file F --local :5000".replace(missing, "")
    assert main(line.split()) == 64
    assert f"required: {missing.split()[0]}; see `netpunch " in capsys.readouterr().err


async def answer() -> int:
    return 42


async def fail() -> int:
    raise LookupError


async def cancel_itself() -> int:
    raise asyncio.CancelledError


def test_work_that_ends_by_itself_gives_its_own_result() -> None:
    assert run(until_stopped(answer())) == 42
    with pytest.raises(LookupError):
        run(until_stopped(fail()))
    with pytest.raises(asyncio.CancelledError):
        run(until_stopped(cancel_itself()))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_cancels_the_work_and_is_returned(number: signal.Signals) -> None:
    cleaned_up = []

    async def work() -> None:
        try:
            os.kill(os.getpid(), number)
            await asyncio.Event().wait()
        finally:
            cleaned_up.append(True)

    before = signal.getsignal(number)
    assert run(until_stopped(work())) is number
    assert cleaned_up == [True]
    assert signal.getsignal(number) == before

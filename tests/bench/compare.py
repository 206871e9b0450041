"""This checkout of netpunch beside another one: what it costs, as ratios.

    python -m tests.bench compare OTHER [--rounds N] [MEASURE ...]

OTHER is the folder of another checkout, such as a `git worktree` of an older commit. Each round
measures both, one right after the other and in turn the one or the other first, so that what else
the machine does concerns both. A ratio is this checkout's figure over the other's in the same
round; shown are its median and the quartiles over all rounds. The load comes from this checkout's
generators: the protocol on the wire is the same.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from pathlib import Path
from typing import NamedTuple

from netpunch.wire.keys import KEY_LENGTH
from tests.bench.control_cost import PAUSE, Client, classic_partner, take
from tests.bench.processes import ROOT, machine, server, subject
from tests.bench.questions import (
    CLASSIC,
    PAIRS,
    Announcer,
    announcements,
    classic_announcements,
)
from tests.bench.startup import folder_with_key, until_it_ends, until_its_first_datagram
from tests.bench.subjects import control, links, simulator

Figures = dict[str, float]
Sample = Callable[[], Figures]
"""Measures once: figures by name. Smaller is better."""


class Size(NamedTuple):
    """How much one sample measures."""

    announcements: int = 16_000
    links: int = 40
    registered: int = 4_000
    runs: int = 3


SMALL = Size(announcements=512, links=2, registered=100, runs=1)


@contextmanager
def control_cost(checkout: Path, size: Size) -> Iterator[Sample]:
    """µs of CPU that an announcement and its answer cost a busy control."""
    voices = [Announcer(pair) for pair in PAIRS]
    v2, classic = announcements(voices), classic_announcements()
    with (
        server(control, PAIRS, CLASSIC, checkout=checkout) as target,
        classic_partner(target.port) as register_partner,
        closing(Client(target)) as client,
    ):
        client.register(voices)

        def sample() -> Figures:
            register_partner()
            time.sleep(PAUSE)  # a control takes so many announcements at once of one end
            return {
                "v2, µs": client.saturate(take(v2, size.announcements)).cpu,
                "classic, µs": client.saturate(take(classic, size.announcements)).cpu,
            }

        yield sample


@contextmanager
def link_time(checkout: Path, size: Size) -> Iterator[Sample]:
    """ms until both ends report a link on loopback."""
    with subject(links, checkout=checkout) as running:
        yield lambda: {
            "both ends, ms": statistics.median(both for _, both in running.ask(size.links))
        }


@contextmanager
def start(checkout: Path, size: Size) -> Iterator[Sample]:
    """ms of CPU until `--help` ends, and until `run` sends its first datagram."""
    with tempfile.TemporaryDirectory() as name:
        folder = folder_with_key(Path(name))
        help_text = ["-m", "netpunch", "--help"]

        def sample() -> Figures:
            return {
                "--help, ms": until_it_ends(folder, help_text, checkout) * 1000,
                "run, first datagram, ms": until_its_first_datagram(folder, checkout) * 1000,
            }

        sample()  # compiles
        yield sample


@contextmanager
def memory(checkout: Path, size: Size) -> Iterator[Sample]:
    """Memory of a control process, and of it for each registered end."""
    pairs = {f"pair-{number}": bytes(KEY_LENGTH) for number in range(size.registered)}

    def sample() -> Figures:
        with (
            server(control, pairs, {}, checkout=checkout) as target,
            closing(Client(target)) as client,
        ):
            before = target.resident()
            client.register(Announcer(pair, key=key) for pair, key in pairs.items())
            after = target.resident()
        return {
            "control with all pairs, MiB": before / 1024**2,
            "registered end, bytes": (after - before) / len(pairs),
        }

    yield sample


@contextmanager
def simulator_speed(checkout: Path, size: Size) -> Iterator[Sample]:
    """CPU seconds of some cells of the matrix of NATs."""
    with subject(simulator, checkout=checkout) as running:
        yield lambda: {"three cells, s": running.ask(size.runs)}


MEASURES: dict[str, Callable[[Path, Size], AbstractContextManager[Sample]]] = {
    "control-cost": control_cost,
    "link-time": link_time,
    "start": start,
    "memory": memory,
    "simulator": simulator_speed,
}


class Comparison(NamedTuple):
    """A figure here and there (medians), and the quartiles of its ratios."""

    here: float
    there: float
    ratios: Sequence[float]

    def __str__(self) -> str:
        low, middle, high = self.ratios
        return f"{self.there:9.2f} {self.here:9.2f}   {middle:5.3f} ({low:.3f} to {high:.3f})"


def compare(measure: str, other: Path, rounds: int, size: Size) -> dict[str, Comparison]:
    """Each of its figures, from at least two rounds."""
    here: list[Figures] = []
    there: list[Figures] = []
    with ExitStack() as stack:
        both = [
            (stack.enter_context(MEASURES[measure](checkout, size)), figures)
            for checkout, figures in ((ROOT, here), (other, there))
        ]
        for number in range(rounds):
            for sample, figures in both if number % 2 else reversed(both):
                figures.append(sample())
    return {
        name: Comparison(
            statistics.median(each[name] for each in here),
            statistics.median(each[name] for each in there),
            statistics.quantiles(
                [new[name] / old[name] for new, old in zip(here, there, strict=True)], n=4
            ),
        )
        for name in here[0]
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("other", metavar="OTHER", type=Path, help="folder of another checkout")
    parser.add_argument("measures", metavar="MEASURE", nargs="*", help=", ".join(MEASURES))
    parser.add_argument("--rounds", type=int, default=11, help="at least 2; default: 11")
    parser.add_argument("--small", action="store_true", help="as quickly as possible, for a test")
    options = parser.parse_intermixed_args()
    if unknown := set(options.measures) - set(MEASURES):
        parser.error(f"unknown measure {', '.join(unknown)}: choose from {', '.join(MEASURES)}")
    size = SMALL if options.small else Size()
    print(f"{ROOT} beside {options.other}, {options.rounds} rounds; {machine()}")
    print(f"  {'':40} {'other':>9} {'this':>9}   ratio (quartiles)")
    for measure in options.measures or MEASURES:
        found = compare(measure, options.other.resolve(), options.rounds, size)
        for name, comparison in found.items():
            print(f"  {f'{measure}: {name}':40} {comparison}", flush=True)


if __name__ == "__main__":
    main()

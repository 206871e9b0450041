"""SIGHUP in every state of an end's life: what has not changed sees nothing of it, what has is
begun anew, what is gone is ended, and what hooks took is given back in any case."""

from __future__ import annotations

import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.assertions import assert_answered, assert_stops
from tests.e2e.site import Settings, Site
from tests.node.children import GATED, children, needs_proc, processes_with

AT_ONCE = 4
LATER = "60s"
"""Longer than a test takes."""
FOREGROUND = ["sh", "-c", "echo begun; sleep 60 & wait"]


@dataclass(frozen=True)
class State:
    """`settings` lead end a to where `reached` waits for it. `hooks`: what its hooks do. `anew`:
    how an end that is begun anew is known. `nodes`: the ends are processes of their own, and end
    a's is reloaded."""

    reached: Callable[[Life], object]
    settings: Settings = field(default_factory=dict)
    hooks: dict[str, str] = field(default_factory=dict)
    anew: Callable[[Life], object] = lambda life: life.wait_for("hook.start", 2, hook="before")
    nodes: bool = False

    @property
    def runs(self) -> bool:
        """Whether a hook or the command runs in this state."""
        return GATED in self.hooks.values() or self.settings.get("command") == FOREGROUND


def told(event: str, count: int = 1, **fields: Any) -> Callable[[Life], None]:
    return lambda life: life.wait_for(event, count, **fields)


def begun(hook: str) -> Callable[[Life], None]:
    return told("hook.output", text="begun", hook=hook)


def ended(hook: str) -> Callable[[Life], None]:
    return told("hook.end", hook=hook)


STATES = {
    "before": State(begun("before"), hooks={"before": GATED}),
    "waiting": State(told("pair.waiting"), {"b": {"enabled": False}}),
    "no answer": State(ended("before"), nodes=True),
    "punching": State(told("pair.introduced"), nodes=True),
    "up": State(begun("up"), hooks={"up": GATED}),
    "holding": State(ended("up")),
    "command, on standby": State(begun("command"), {"command": FOREGROUND}),
    "between checks": State(
        ended("up"),
        {"check": ["test", "-e", "alive"], "check_every": LATER},
        hooks={"up": "touch alive"},
        anew=told("pair.alive"),
    ),
    "after a failure": State(ended("down"), {"command": ["true"], "retry_after": LATER}),
    "down": State(
        begun("down"), {"command": ["true"], "retry_after": LATER}, hooks={"down": GATED}
    ),
}


class Life:
    """A pair in one of these states, and another one that is held."""

    def __init__(self, folder: Path, programs: ExitStack, name: str) -> None:
        folder.mkdir()
        self.site = Site(folder, programs)
        self.state = STATES[name]
        self.pair = f"reload-{self.site.port}"
        for key in ("pair.key", "other.key"):
            self.site.write_key(key)
        self.write()
        if self.state.nodes:
            self.start_others(name)
        self.program = self.site.run(*(["--node", "home"] if self.state.nodes else []))
        self.state.reached(self)

    def start_others(self, name: str) -> None:
        if name == "no answer":
            return
        control = self.site.run_node("vps")
        partner = self.site.run_node("office")
        control.wait_for("control.registered", end="b", pair=self.pair)
        partner.signal(signal.SIGSTOP)

    def write(self, *, gone: bool = False, other: bool = True, **more: object) -> None:
        """The site with this pair, unless it is `gone`, and the `other` one."""
        hooks = self.site.hooks(**self.state.hooks)
        ends: Settings = {"a": {"hooks": hooks}}
        settings: Settings = {"secret_file": "pair.key"} | ends | self.state.settings | more
        pairs: Settings = {} if gone else {self.pair: settings}
        beside = {
            "other": {
                "secret_file": "other.key",
                "deadline": "18s" if other else "17s",
                "a": {"hooks": {"before": ["true"]}},
            }
        }
        nodes: Settings = {"a": {"node": "home"}, "b": {"node": "office"}}
        control: Settings | None = {"node": "vps"} if self.state.nodes else None
        if self.state.nodes:
            pairs = {name: pair | _with(pair, nodes) for name, pair in pairs.items()}
            beside = {name: pair | _with(pair, nodes) for name, pair in beside.items()}
        self.site.write(pairs | beside, control=control, mode="keep")

    def told(self) -> list[tuple[str, object]]:
        """What end a has told so far, and the control when it began. Whom that registers is left
        out: an end comes on standby in its own time."""
        records = self.program.events(pair=self.pair, end="a")
        told = [(record["event"], record.get("hook")) for record in records]
        begun = [("control.ready", None) for _ in self.program.events("control.ready")]
        return [each for each in told if not each[0].startswith("control.")] + begun

    def running(self) -> set[int]:
        """The ids of the hook or the command that end a runs now."""
        own = processes_with("NETPUNCH_PAIR", self.pair)
        return set(children(self.program.pid)) & set(own) & set(processes_with("NETPUNCH_END", "a"))

    def wait_for(self, event: str, count: int = 1, **fields: Any) -> None:
        """Wait until end a has emitted this."""
        self.program.wait_for(event, count, pair=self.pair, end="a", **fields)

    def open_gate(self) -> None:
        (self.site.folder / "open").touch()

    def reload(self) -> None:
        """Open the gate while the reload waits for the hook behind it, if it does."""
        self.program.signal(signal.SIGHUP)
        self.open_gate()
        self.program.wait_for("run.reload", reason="done")

    def ends_well(self) -> None:
        assert_stops(self.program, self.pair, 0)
        assert "Traceback" not in self.program.said
        assert_answered(self.program, self.pair, "a")


def _with(pair: Settings, nodes: Settings) -> Settings:
    return {end: pair.get(end, {}) | nodes[end] for end in "ab"}


def unchanged(life: Life) -> None:
    """Only the pair beside it has changed: of this one there is nothing to tell. By the time that
    the other one is begun anew, whatever was begun anew with it has told so: it is the last."""
    told = life.told()
    running = life.running()
    assert bool(running) is life.state.runs
    life.write(other=False)
    life.site.reload(life.program)
    life.program.wait_for("hook.end", 2, pair="other", hook="before")
    assert life.told() == told
    assert life.running() == running
    life.open_gate()
    life.ends_well()


def changed(life: Life) -> None:
    life.write(deadline="19s")
    life.reload()
    life.state.anew(life)
    life.ends_well()


def secret_changed(life: Life) -> None:
    life.site.write_key("pair.key")
    life.reload()
    life.state.anew(life)
    life.ends_well()


def removed(life: Life) -> None:
    life.write(gone=True)
    life.reload()
    told = life.told()
    life.site.reload(life.program)
    assert life.told() == told
    life.ends_well()


CHANGES = (unchanged, changed, secret_changed, removed)


def live(folder: Path, name: str, change: Callable[[Life], None]) -> None:
    with ExitStack() as programs:
        change(Life(folder, programs, name))


@needs_proc
@pytest.mark.parametrize("name", STATES)
def test_a_reload_in_any_state_of_a_pair_leads_to_the_new_configuration(
    tmp_path: Path, name: str
) -> None:
    with ThreadPoolExecutor(AT_ONCE) as threads:
        lives = [
            threads.submit(live, tmp_path / change.__name__, name, change) for change in CHANGES
        ]
    for life in lives:
        life.result()

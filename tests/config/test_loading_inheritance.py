"""Defaults, pair, end: who wins."""

from __future__ import annotations

import pytest

from netpunch.config.model import Hooks
from netpunch.config.values import HostPort
from tests.config.conftest import LoadText

SITE = """\
version: 1
control: {{address: "127.0.0.1:10001"}}
defaults: {{secret_file: d.key, {defaults}}}
pairs:
  p: {{{pair}, a: {{{a}}}, b: {{}}}}
"""


@pytest.mark.parametrize(
    ("defaults", "pair", "a", "port_of_a", "port_of_b"),
    [
        ("x", "x", "x", 0, 0),
        ('local: ":1"', "x", "x", 1, 1),
        ('local: ":1"', 'local: ":2"', "x", 2, 2),
        ('local: ":1"', 'local: ":2"', 'local: ":3"', 3, 2),
        ('local: ":1", a: {local: ":4"}', 'local: ":2"', "x", 4, 2),
        ('a: {local: ":4"}', 'local: ":2"', 'local: ":3"', 3, 2),
    ],
)
def test_the_nearest_setting_wins(
    load_text: LoadText, defaults: str, pair: str, a: str, port_of_a: int, port_of_b: int
) -> None:
    filled = [text.replace("x", "standby: on") for text in (defaults, pair, a)]
    # Both ends on one node would collide; that is not what is tested here.
    text = SITE.format(defaults=filled[0], pair=filled[1], a=filled[2])
    text = text.replace("b: {}", "b: {enabled: off}")
    ends = load_text(text).pairs[0].ends
    assert [end.settings.local for end in ends] == [
        HostPort("", port_of_a),
        HostPort("", port_of_b),
    ]


def test_inherited_mappings_merge_and_lists_are_replaced(load_text: LoadText) -> None:
    text = SITE.format(
        defaults="hooks: {up: [d, e], fail: [f]}, check: [c, d]",
        pair="hooks: {up: [p], timeout: 5s}",
        a="hooks: {down: []}, check: [a]",
    )
    a, b = load_text(text).pairs[0].ends
    assert a.hooks == b.hooks == Hooks((), ("p",), (), ("f",), 5.0)
    assert (a.check, b.check) == (("a",), ("c", "d"))


def test_an_inherited_setting_can_be_turned_off(load_text: LoadText) -> None:
    text = SITE.format(
        defaults='mode: keep, env_file: "/{end}", forward: {listen: ":5"}',
        pair="forward: off, command: [c], check: [c]",
        a="command: off, env_file: off",
    )
    a, b = load_text(text).pairs[0].ends
    assert (a.forward, a.command, a.check, a.env_file) == (None, (), ("c",), None)
    assert (b.command, b.env_file) == (("c",), "/{end}")


def test_a_nearer_secret_replaces_one_of_any_kind(load_text: LoadText) -> None:
    text = SITE.format(defaults="standby: on", pair="standby: on", a="credential: c")
    pair = load_text(text).pairs[0]
    assert (pair.secret.kind, pair.a.secret.kind, pair.b.secret.kind) == (
        "file",
        "credential",
        "file",
    )


def test_forward_may_be_set_in_defaults_and_pair_together(load_text: LoadText) -> None:
    text = SITE.format(
        defaults='mode: keep, forward: {to: "127.0.0.1:9"}',
        pair='b: {forward: {listen: ":2"}}',
        a='forward: {listen: ":1"}',
    ).replace(", b: {}}", "}")
    a, b = load_text(text).pairs[0].ends
    assert a.forward is not None
    assert b.forward is not None
    assert (str(a.forward.listen), str(b.forward.listen)) == (":1", ":2")
    assert str(a.forward.to) == str(b.forward.to) == "127.0.0.1:9"


def test_a_disabled_pair_has_no_enabled_end(load_text: LoadText) -> None:
    text = SITE.format(defaults="enabled: off", pair="standby: on", a="enabled: on")
    pair = load_text(text).pairs[0]
    assert (pair.enabled, pair.a.enabled, pair.b.enabled) == (False, False, False)

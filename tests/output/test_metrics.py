"""The metrics are Prometheus text, and agree with the status."""

from __future__ import annotations

import re

import pytest

from netpunch.core.events import PathKind
from netpunch.output.metrics import METRICS, PATHS, Metric, metrics_text
from netpunch.output.status import (
    ControlStatus,
    EndStatus,
    ProcessStatus,
    Refusal,
    RelayedPair,
    RelayStatus,
    State,
    TlsStatus,
)

SINCE = 1769860800.25

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = r'[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\[\\"n])*"'
SAMPLE = re.compile(rf"({NAME})(?:{{({LABEL}(?:,{LABEL})*)}})? (-?[0-9.]+(?:e[+-]?[0-9]+)?)")
"""A sample without a time, by Prometheus's exposition format 0.0.4."""

UP = EndStatus(
    "home-office",
    "a",
    State.UP,
    since=SINCE,
    path="relay",
    path_since=SINCE,
    rtt_ms=12.5,
    jitter_ms=0.25,
    loss=0.05,
    links=3,
    failures={"blocked": 2, "partner_absent": 1},
    losses={"silent": 2},
    moves={"woke": 4},
    sent_datagrams=5,
    sent_bytes=6000,
    received_datagrams=7,
    received_bytes=8000,
    drops={"stale": 9},
)
WAITING = EndStatus("lab", "b", State.WAITING, since=SINCE, reason="partner_absent")
CONTROL = ControlStatus(
    "vps",
    ("0.0.0.0:10001",),
    registered=4,
    drops={"bad_mac": 5, "stale": 6},
    send_errors={"EPERM": 7},
    queue_drops=8,
    awaited=("home-office b",),
    absent_ends=2,
)
STATUS = ProcessStatus(
    SINCE, SINCE, "1.2", "abc", 42, "home", 9, ends=(UP, WAITING), controls=(CONTROL,)
)


def samples(status: ProcessStatus) -> dict[str, float]:
    """By name and labels; every line must be a sample, or belong to the next one."""
    found: dict[str, float] = {}
    described = ""
    for line in metrics_text(status).splitlines():
        if line.startswith("#"):
            _, keyword, name, text = line.split(" ", 3)
            if keyword == "HELP":
                assert not any(sample.split("{")[0] == name for sample in found), f"{name} twice"
                described = name
            else:
                assert (keyword, name) == ("TYPE", described)
                assert text in ("gauge", "counter")
            continue
        match = SAMPLE.fullmatch(line)
        assert match, line
        assert match[1] == described
        key = f"{match[1]}{{{match[2]}}}" if match[2] else match[1]
        assert key not in found
        found[key] = float(match[3])
    return found


def test_the_metrics_of_a_site() -> None:
    home, lab, vps = 'pair="home-office",end="a"', 'pair="lab",end="b"', 'control="vps"'
    assert samples(STATUS) == {
        'netpunch_info{version="1.2",node="home"}': 1,
        "netpunch_start_time_seconds": SINCE,
        "netpunch_events_dropped_total": 9,
        "netpunch_config_last_reload_successful": 1,
        f"netpunch_pair_up{{{home}}}": 1,
        f"netpunch_pair_up{{{lab}}}": 0,
        f"netpunch_pair_since_timestamp_seconds{{{home}}}": SINCE,
        f"netpunch_pair_since_timestamp_seconds{{{lab}}}": SINCE,
        **{
            f'netpunch_pairs{{path="{path}"}}': int(path == "relay")
            for path in ("host", "ipv6", "observed", "predicted", "spray", "mapped", "relay")
        },
        f"netpunch_pair_rtt_seconds{{{home}}}": 0.0125,
        f"netpunch_pair_jitter_seconds{{{home}}}": 0.00025,
        f"netpunch_pair_loss_ratio{{{home}}}": 0.05,
        f"netpunch_pair_path_since_timestamp_seconds{{{home}}}": SINCE,
        f"netpunch_pair_links_total{{{home}}}": 3,
        f"netpunch_pair_links_total{{{lab}}}": 0,
        f'netpunch_pair_failures_total{{{home},reason="blocked"}}': 2,
        f'netpunch_pair_failures_total{{{home},reason="partner_absent"}}': 1,
        f'netpunch_pair_losses_total{{{home},reason="silent"}}': 2,
        f'netpunch_pair_moves_total{{{home},reason="woke"}}': 4,
        f"netpunch_pair_sent_datagrams_total{{{home}}}": 5,
        f"netpunch_pair_sent_bytes_total{{{home}}}": 6000,
        f"netpunch_pair_received_datagrams_total{{{home}}}": 7,
        f"netpunch_pair_received_bytes_total{{{home}}}": 8000,
        f'netpunch_pair_drops_total{{{home},reason="stale"}}': 9,
        f"netpunch_control_up{{{vps}}}": 1,
        f"netpunch_control_registered{{{vps}}}": 4,
        f"netpunch_control_absent_ends{{{vps}}}": 2,
        f"netpunch_control_awaited_ends{{{vps}}}": 1,
        f'netpunch_control_drops_total{{{vps},reason="bad_mac"}}': 5,
        f'netpunch_control_drops_total{{{vps},reason="stale"}}': 6,
        f'netpunch_control_send_errors_total{{{vps},error="EPERM"}}': 7,
        f"netpunch_control_queue_drops_total{{{vps}}}": 8,
    }


def test_pairs_are_counted_by_every_kind_of_path() -> None:
    assert set(PATHS) == set(PathKind)
    alive = STATUS._replace(ends=(EndStatus("p", "a", State.UP),))
    counted = samples(alive)
    assert counted['netpunch_pairs{path="unknown"}'] == 1
    assert sum(counted[f'netpunch_pairs{{path="{path}"}}'] for path in PathKind) == 0


def test_the_metrics_of_a_relay() -> None:
    pair = RelayedPair("home-office", 2, 3, {"over_rate": 4})
    relay = RelayStatus(("0.0.0.0:10003",), 5, 6, 7, {"stranger": 8}, (pair,))
    relaying = STATUS._replace(controls=(CONTROL._replace(relay=relay),))
    vps = 'control="vps"'
    assert {k: v for k, v in samples(relaying).items() if k.startswith("netpunch_relay")} == {
        f"netpunch_relay_bound{{{vps}}}": 5,
        f"netpunch_relay_datagrams_total{{{vps}}}": 6,
        f"netpunch_relay_bytes_total{{{vps}}}": 7,
        f'netpunch_relay_drops_total{{{vps},reason="stranger"}}': 8,
        f'netpunch_relay_pair_datagrams_total{{{vps},pair="home-office"}}': 2,
        f'netpunch_relay_pair_bytes_total{{{vps},pair="home-office"}}': 3,
        f'netpunch_relay_pair_drops_total{{{vps},pair="home-office",reason="over_rate"}}': 4,
    }


def test_the_metric_of_a_control_with_a_problem_is_0() -> None:
    broken = STATUS._replace(controls=(ControlStatus("vps", problems=("taken",)),))
    assert samples(broken)['netpunch_control_up{control="vps"}'] == 0


def test_metrics_without_samples_are_left_out() -> None:
    bare = STATUS._replace(ends=(), controls=())
    assert set(samples(bare)) == {
        'netpunch_info{version="1.2",node="home"}',
        "netpunch_start_time_seconds",
        "netpunch_events_dropped_total",
        "netpunch_config_last_reload_successful",
    }


@pytest.mark.parametrize(
    ("value", "escaped"), [('a"b', r"a\"b"), ("a\\b", r"a\\b"), ("a\nb", r"a\nb")]
)
def test_labels_of_metrics_are_escaped(value: str, escaped: str) -> None:
    named = STATUS._replace(node=value)
    assert f'netpunch_info{{version="1.2",node="{escaped}"}}' in samples(named)


@pytest.mark.parametrize("metric", METRICS, ids=[metric.name for metric in METRICS])
def test_names_of_metrics_keep_the_conventions(metric: Metric) -> None:
    assert (metric.kind == "counter") == metric.name.endswith("_total")
    assert "\n" not in metric.help
    assert metric.help.endswith(".")


def test_the_metric_of_a_failed_reload_is_0() -> None:
    name = "netpunch_config_last_reload_successful"
    assert samples(STATUS)[name] == 1
    assert samples(STATUS._replace(refusal=Refusal("wrong", SINCE)))[name] == 0


def test_the_metrics_of_tls_connections() -> None:
    with_tls = STATUS._replace(controls=(CONTROL._replace(tls=TlsStatus("[::]:443", 5, 6, 7)),))
    assert {k: v for k, v in samples(with_tls).items() if "_tls_" in k} == {
        'netpunch_control_tls_ends{control="vps"}': 5,
        'netpunch_control_tls_strangers{control="vps"}': 6,
        'netpunch_control_tls_refused_total{control="vps"}': 7,
    }


def test_the_samples_of_a_mesh_carry_its_name() -> None:
    ends = (EndStatus("lan.home.office", "a", State.UP, since=SINCE), WAITING)
    lines = metrics_text(ProcessStatus(SINCE, SINCE, "1", "abc", 42, ends=ends)).splitlines()
    assert 'netpunch_pair_up{pair="lan.home.office",end="a",mesh="lan"} 1' in lines
    assert 'netpunch_pair_up{pair="lab",end="b"} 0' in lines

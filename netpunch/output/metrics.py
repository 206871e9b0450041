"""A status as Prometheus text, for node_exporter's textfile collector."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from netpunch.output.status import (
    NONE_COUNTED,
    ControlStatus,
    EndStatus,
    ProcessStatus,
    RelayedPair,
    RelayStatus,
    TlsStatus,
)

Labels = dict[str, str]
Sample = tuple[Labels, float]

MILLISECONDS = 1000

PATHS = ("host", "ipv6", "observed", "predicted", "spray", "mapped", "relay")
"""The kinds of paths (`PathKind` of the core)."""

_ESCAPED = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})
"""What the format escapes in a label's value."""


class Metric(NamedTuple):
    """A metric, and its samples in a status. Counters begin at 0 with the process, and with a
    reload that changes their end or control."""

    name: str
    kind: str
    help: str
    samples: Callable[[ProcessStatus], Iterable[Sample]]


def metrics_text(status: ProcessStatus) -> str:
    """All metrics that have a sample, each with its help and type."""
    return "".join(line for metric in METRICS for line in _lines(metric, status))


def _lines(metric: Metric, status: ProcessStatus) -> Iterator[str]:
    samples = list(metric.samples(status))
    if samples:
        yield f"# HELP {metric.name} {metric.help}\n"
        yield f"# TYPE {metric.name} {metric.kind}\n"
    for labels, value in samples:
        yield f"{metric.name}{_labels(labels)} {value}\n"


def _labels(labels: Labels) -> str:
    pairs = [f'{name}="{value.translate(_ESCAPED)}"' for name, value in labels.items()]
    return f"{{{','.join(pairs)}}}" if pairs else ""


Samples = Callable[[ProcessStatus], Iterable[Sample]]


def _per_end(value: Callable[[EndStatus], float | None]) -> Samples:
    def samples(status: ProcessStatus) -> Iterator[Sample]:
        for end in status.ends:
            if (number := value(end)) is not None:
                yield _whose(end), number

    return samples


def _per_reason(counts: Callable[[EndStatus], Mapping[str, int]]) -> Samples:
    def samples(status: ProcessStatus) -> Iterator[Sample]:
        for end in status.ends:
            for reason, count in counts(end).items():
                yield _whose(end) | {"reason": reason}, count

    return samples


def _per_control(value: Callable[[ControlStatus], float]) -> Samples:
    def samples(status: ProcessStatus) -> Iterator[Sample]:
        for control in status.controls:
            yield {"control": control.control}, value(control)

    return samples


def _per_kind(label: str, counts: Callable[[ControlStatus], Mapping[str, int]]) -> Samples:
    def samples(status: ProcessStatus) -> Iterator[Sample]:
        for control in status.controls:
            for kind, count in counts(control).items():
                yield {"control": control.control, label: kind}, count

    return samples


def _per_path(status: ProcessStatus) -> Iterator[Sample]:
    """All kinds, so that a query finds 0 of them."""
    if status.ends:
        for path, count in (dict.fromkeys(PATHS, 0) | status.paths).items():
            yield {"path": path}, count


def _seconds(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else round(milliseconds / MILLISECONDS, 6)


def _per_tls(value: Callable[[TlsStatus], float]) -> Samples:
    def samples(status: ProcessStatus) -> Iterator[Sample]:
        for control in status.controls:
            if control.tls is not None:
                yield {"control": control.control}, value(control.tls)

    return samples


def _per_relay(value: Callable[[RelayStatus], float]) -> Samples:
    def samples(status: ProcessStatus) -> Iterator[Sample]:
        for control, relay in _relays(status):
            yield control, value(relay)

    return samples


def _per_relayed_pair(value: Callable[[RelayedPair], float]) -> Samples:
    def samples(status: ProcessStatus) -> Iterator[Sample]:
        for control, relay in _relays(status):
            for pair in relay.pairs:
                yield control | {"pair": pair.pair}, value(pair)

    return samples


def _relay_drops(status: ProcessStatus) -> Iterator[Sample]:
    for control, relay in _relays(status):
        for reason, count in relay.drops.items():
            yield control | {"reason": reason}, count


def _relayed_pair_drops(status: ProcessStatus) -> Iterator[Sample]:
    for control, relay in _relays(status):
        for pair in relay.pairs:
            for reason, count in pair.drops.items():
                yield control | {"pair": pair.pair, "reason": reason}, count


def _relays(status: ProcessStatus) -> Iterator[tuple[Labels, RelayStatus]]:
    for control in status.controls:
        if control.relay is not None:
            yield {"control": control.control}, control.relay


def _whose(end: EndStatus) -> Labels:
    labels = {"pair": end.pair, "end": end.end}
    return labels if end.mesh is None else labels | {"mesh": end.mesh}


def _info(status: ProcessStatus) -> Iterator[Sample]:
    yield {"version": status.version, "node": status.node or ""}, 1


METRICS = (
    Metric("netpunch_info", "gauge", "Always 1; the labels carry the version.", _info),
    Metric(
        "netpunch_start_time_seconds",
        "gauge",
        "When the process was started, since the epoch.",
        lambda status: [({}, status.started)],
    ),
    Metric(
        "netpunch_events_dropped_total",
        "counter",
        "Events that a stalled reader of standard output has cost.",
        lambda status: [({}, status.events_dropped)],
    ),
    Metric(
        "netpunch_config_last_reload_successful",
        "gauge",
        "Whether the last reload succeeded; 0 until the file is corrected and reloaded.",
        lambda status: [({}, int(status.refusal is None))],
    ),
    Metric("netpunch_pairs", "gauge", "Pairs that are up, by the kind of their path.", _per_path),
    Metric(
        "netpunch_pair_up",
        "gauge",
        "Whether this end of the pair is linked.",
        _per_end(lambda end: int(end.is_up)),
    ),
    Metric(
        "netpunch_pair_since_timestamp_seconds",
        "gauge",
        "When this end entered its state, since the epoch.",
        _per_end(lambda end: end.since),
    ),
    Metric(
        "netpunch_pair_rtt_seconds",
        "gauge",
        "Round trip to the partner: smoothed while the link is held, or when it was made.",
        _per_end(lambda end: _seconds(end.rtt_ms)),
    ),
    Metric(
        "netpunch_pair_jitter_seconds",
        "gauge",
        "Mean deviation of the round trip while the link is held.",
        _per_end(lambda end: _seconds(end.jitter_ms)),
    ),
    Metric(
        "netpunch_pair_loss_ratio",
        "gauge",
        "Part of the last 20 pings that were not answered while the link is held, 0 to 1.",
        _per_end(lambda end: end.loss),
    ),
    Metric(
        "netpunch_pair_path_since_timestamp_seconds",
        "gauge",
        "When the link got its path, since the epoch.",
        _per_end(lambda end: end.path_since),
    ),
    Metric(
        "netpunch_pair_links_total",
        "counter",
        "Links made.",
        _per_end(lambda end: end.links),
    ),
    Metric(
        "netpunch_pair_failures_total",
        "counter",
        "Attempts that failed.",
        _per_reason(lambda end: end.failures),
    ),
    Metric(
        "netpunch_pair_losses_total",
        "counter",
        "Links that were lost.",
        _per_reason(lambda end: end.losses),
    ),
    Metric(
        "netpunch_pair_moves_total",
        "counter",
        "Times that a held link moved to another path.",
        _per_reason(lambda end: end.moves),
    ),
    Metric(
        "netpunch_pair_sent_datagrams_total",
        "counter",
        "Datagrams of the local program that were sent to the partner (forward).",
        _per_end(lambda end: end.sent_datagrams),
    ),
    Metric(
        "netpunch_pair_sent_bytes_total",
        "counter",
        "Bytes of the local program that were sent to the partner (forward).",
        _per_end(lambda end: end.sent_bytes),
    ),
    Metric(
        "netpunch_pair_received_datagrams_total",
        "counter",
        "Datagrams of the partner's program that were received (forward).",
        _per_end(lambda end: end.received_datagrams),
    ),
    Metric(
        "netpunch_pair_received_bytes_total",
        "counter",
        "Bytes of the partner's program that were received (forward).",
        _per_end(lambda end: end.received_bytes),
    ),
    Metric(
        "netpunch_pair_drops_total",
        "counter",
        "Datagrams of both programs that were lost at this end (forward).",
        _per_reason(lambda end: end.drops or NONE_COUNTED),
    ),
    Metric(
        "netpunch_control_up",
        "gauge",
        "Whether the control listens and serves all of its pairs.",
        _per_control(lambda control: int(not control.problems)),
    ),
    Metric(
        "netpunch_control_registered",
        "gauge",
        "Ends that are registered now.",
        _per_control(lambda control: control.registered),
    ),
    Metric(
        "netpunch_control_absent_ends",
        "gauge",
        "Ends of its pairs that are not registered now.",
        _per_control(lambda control: control.absent_ends),
    ),
    Metric(
        "netpunch_control_awaited_ends",
        "gauge",
        "Those of them whose partners are registered.",
        _per_control(lambda control: len(control.awaited)),
    ),
    Metric(
        "netpunch_control_drops_total",
        "counter",
        "Datagrams that were dropped.",
        _per_kind("reason", lambda control: control.drops),
    ),
    Metric(
        "netpunch_control_send_errors_total",
        "counter",
        "Datagrams that the system did not send.",
        _per_kind("error", lambda control: control.send_errors),
    ),
    Metric(
        "netpunch_control_queue_drops_total",
        "counter",
        "Datagrams dropped because they came faster than they were read.",
        _per_control(lambda control: control.queue_drops),
    ),
    Metric(
        "netpunch_control_tls_ends",
        "gauge",
        "Ends that are connected over TLS now.",
        _per_tls(lambda tls: tls.ends),
    ),
    Metric(
        "netpunch_control_tls_strangers",
        "gauge",
        "TLS connections now that have not proved to be an end's.",
        _per_tls(lambda tls: tls.strangers),
    ),
    Metric(
        "netpunch_control_tls_refused_total",
        "counter",
        "TLS connections closed because they did not prove it, or because there were too many.",
        _per_tls(lambda tls: tls.refused),
    ),
    Metric(
        "netpunch_relay_bound",
        "gauge",
        "Ends that are bound to the relay now.",
        _per_relay(lambda relay: relay.bound),
    ),
    Metric(
        "netpunch_relay_datagrams_total",
        "counter",
        "Datagrams relayed.",
        _per_relay(lambda relay: relay.datagrams),
    ),
    Metric(
        "netpunch_relay_bytes_total",
        "counter",
        "Bytes relayed, headers left out.",
        _per_relay(lambda relay: relay.bytes),
    ),
    Metric(
        "netpunch_relay_drops_total",
        "counter",
        "Datagrams that the relay dropped.",
        _relay_drops,
    ),
    Metric(
        "netpunch_relay_pair_datagrams_total",
        "counter",
        "Datagrams relayed for the pairs with the most bytes.",
        _per_relayed_pair(lambda pair: pair.datagrams),
    ),
    Metric(
        "netpunch_relay_pair_bytes_total",
        "counter",
        "Bytes relayed for the pairs with the most bytes.",
        _per_relayed_pair(lambda pair: pair.bytes),
    ),
    Metric(
        "netpunch_relay_pair_drops_total",
        "counter",
        "Datagrams of the pairs with the most bytes that the relay dropped.",
        _relayed_pair_drops,
    ),
)

"""contrib/grafana.json asks for metrics and labels that netpunch writes, and is what Grafana reads:
its classic model, https://grafana.com/docs/grafana/latest/dashboards/."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from netpunch.output.metrics import METRICS
from netpunch.output.status import (
    ControlStatus,
    EndStatus,
    ProcessStatus,
    RelayedPair,
    RelayStatus,
    State,
    TlsStatus,
)

FILE = Path(__file__).parents[2] / "contrib" / "grafana.json"
DASHBOARD: dict[str, Any] = json.loads(FILE.read_text())
PANELS: list[dict[str, Any]] = DASHBOARD["panels"]
TARGETS = [(panel["title"], each) for panel in PANELS for each in panel.get("targets", ())]
VARIABLES: list[dict[str, Any]] = DASHBOARD["templating"]["list"]

COUNTS = {"reason": 1}
STATUS = ProcessStatus(
    0.0,
    0.0,
    "1.2",
    "abc",
    42,
    "home",
    0,
    ends=(
        EndStatus(
            "home-office",
            "a",
            State.UP,
            since=0.0,
            path_since=0.0,
            rtt_ms=1.0,
            jitter_ms=1.0,
            loss=0.0,
            failures=COUNTS,
            losses=COUNTS,
            moves=COUNTS,
            sent_datagrams=1,
            sent_bytes=1,
            received_datagrams=1,
            received_bytes=1,
            drops=COUNTS,
        ),
    ),
    controls=(
        ControlStatus(
            "vps",
            drops=COUNTS,
            send_errors=COUNTS,
            relay=RelayStatus(
                ("0.0.0.0:10003",), 1, 1, 1, COUNTS, (RelayedPair("home-office", 1, 1, COUNTS),)
            ),
            tls=TlsStatus("[::]:443", 1, 1, 1),
        ),
    ),
)
"""One that has a sample of every metric."""
OF_PROMETHEUS = {"instance"}
"""The label that tells hosts: Prometheus adds it."""
LABELS = {
    metric.name: {label for labels, _ in metric.samples(STATUS) for label in labels} | OF_PROMETHEUS
    for metric in METRICS
}
COUNTERS = {metric.name for metric in METRICS if metric.kind == "counter"}
PANEL_TYPES = {"row", "stat", "state-timeline", "table", "timeseries"}
COLUMNS = 24


def metrics_in(query: str) -> Iterator[tuple[str, set[str]]]:
    """Each metric of a query with the labels that its selector has."""
    for name, selector in re.findall(r"\b(netpunch_\w+)(?:{([^}]*)})?", query):
        yield name, set(re.findall(r"(\w+)=~?\"", selector))


def labels_of(query: str) -> set[str]:
    """Those that the query's result has, at least."""
    if grouped := re.search(r"\bby \(([\w, ]+)\)", query):
        return set(grouped[1].split(", "))
    return set.intersection(*(LABELS[name] for name, _ in metrics_in(query)))


@pytest.mark.parametrize(("title", "target"), TARGETS)
def test_a_query_asks_for_what_is_written(title: str, target: dict[str, Any]) -> None:
    query = target["expr"]
    asked = list(metrics_in(query))
    assert asked
    for name, selected in asked:
        assert name in LABELS, f"{title}: no metric {name}"
        assert selected <= LABELS[name], f"{title}: {name} has no such label"
        for group in re.findall(r"\bby \(([\w, ]+)\)", query):
            assert set(group.split(", ")) <= LABELS[name], title
        is_rate = re.search(rf"\b(rate|increase)\({name}{{[^}}]*}}\[\$__rate_interval\]\)", query)
        assert bool(is_rate) is (name in COUNTERS), f"{title}: {name}"
    shown = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
    assert shown <= labels_of(query), f"{title}: the legend names a label that the result lacks"


def test_every_metric_is_on_the_dashboard() -> None:
    asked = {name for _, target in TARGETS for name, _ in metrics_in(target["expr"])}
    assert asked == LABELS.keys()


def test_every_variable_is_one_of_the_dashboard_or_of_grafana() -> None:
    known = {variable["name"] for variable in VARIABLES} | {"__rate_interval", "__all"}
    assert set(re.findall(r"\$\{?(\w+)", FILE.read_text())) <= known
    for variable in VARIABLES:
        if variable["type"] == "query":
            found = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["query"]["query"])
            assert found, variable["name"]
            assert found[2] in LABELS[found[1]]
        else:
            assert (variable["type"], variable["query"]) == ("datasource", "prometheus")


def test_panels_lie_beside_each_other() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in PANELS:
        at = panel["gridPos"]
        assert 0 <= at["x"] < at["x"] + at["w"] <= COLUMNS, panel["title"]
        rows, columns = range(at["y"], at["y"] + at["h"]), range(at["x"], at["x"] + at["w"])
        cells = set(itertools.product(rows, columns))
        assert not taken & cells, panel["title"]
        taken |= cells
    ids = [panel["id"] for panel in PANELS]
    assert len(set(ids)) == len(ids)


def test_a_dashboard_is_imported_as_a_new_one_from_any_prometheus() -> None:
    assert DASHBOARD["id"] is None
    assert DASHBOARD["schemaVersion"] >= 36
    assert {panel["type"] for panel in PANELS} <= PANEL_TYPES
    source = {"type": "prometheus", "uid": "${datasource}"}
    asking = [panel for panel in PANELS if panel["type"] != "row"]
    for each in [*asking, *(target for _, target in TARGETS)]:
        assert each["datasource"] == source
    for panel in asking:
        references = [target["refId"] for target in panel["targets"]]
        assert len(set(references)) == len(references)
        assert panel["description"], panel["title"]
        assert set(panel["fieldConfig"]) == {"defaults", "overrides"}

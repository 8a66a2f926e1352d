"""The Grafana dashboard shows every metric of a node and names nothing that does not exist."""

import json
import re
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import pytest

import level_replicator as lrep
from level_replicator.api.monitoring.metrics import Collector
from level_replicator.replication.peers import PeerState

DASHBOARD = json.loads((Path(__file__).parents[3] / "packaging" / "grafana.json").read_text("utf-8"))
PANELS = DASHBOARD["panels"]
VARIABLES = {each["name"] for each in DASHBOARD["templating"]["list"]}
OF_PROMETHEUS = {"instance", "job"}
"""Labels that Prometheus adds to each sample."""
BUILT_IN = {"__rate_interval"}


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """The labels of each metric, as a node with a peer exports them."""
    found: dict[str, set[str]] = {}
    with lrep.open(tmp_path_factory.mktemp("node") / "a", {"servers": {"127.0.0.1:1": {}}}) as replica:
        status = replica.status()
        status["peers"][0] |= {"behind": 0, "lag_s": 0.0, "clock_ahead_s": 0.0, "waiting_s": 0.0}
        for family in Collector(lambda: status).collect():
            for sample in family.samples:
                found.setdefault(sample.name, set()).update(sample.labels)
    return found


def expressions() -> Iterator[tuple[str, str]]:
    """Each query, and the legend that is made of its labels."""
    for panel in PANELS:
        for target in panel.get("targets", ()):
            yield target["expr"], target["legendFormat"]
    for each in DASHBOARD["annotations"]["list"]:
        yield each["expr"], each["titleFormat"]
    for each in DASHBOARD["templating"]["list"]:
        if each["type"] == "query":
            (query,) = re.findall(r"label_values\((.*), (?:instance|peer)\)", each["query"]["query"])
            yield query, ""


def test_every_metric_and_label_exists_and_every_metric_is_shown(labels: dict[str, set[str]]) -> None:
    shown = set()
    for expression, legend in expressions():
        named = re.findall(r"level_replicator_\w+", expression)
        assert named, expression
        shown.update(named)
        for name, matchers in re.findall(r"(level_replicator_\w+)(?:\{([^}]*)\})?", expression):
            assert name in labels, expression
            assert set(re.findall(r"(\w+)\s*=~?", matchers)) <= labels[name] | OF_PROMETHEUS, expression
        grouped = {each for group in re.findall(r"by \(([^)]*)\)", expression) for each in re.split(r",\s*", group)}
        used = grouped | set(re.findall(r"\{\{(\w+)\}\}", legend))
        assert used <= set.union(*(labels[name] for name in named)) | OF_PROMETHEUS, expression
        for states in re.findall(r'state=~?"([^"]*)"', expression):
            assert set(states.split("|")) <= {each.value for each in PeerState}
    assert shown == set(labels)


def test_every_panel_says_what_it_shows() -> None:
    for panel in PANELS:
        assert panel["title"]
        assert panel["type"] == "row" or panel["targets"]
    titles = [panel["title"] for panel in PANELS if panel["type"] != "stat"]
    assert len(set(titles)) == len(titles)


def test_every_variable_that_is_used_is_defined() -> None:
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(DASHBOARD)))
    assert used - BUILT_IN - {"__all"} == VARIABLES


def test_no_two_panels_overlap_and_none_is_wider_than_the_grid() -> None:
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    places = [panel["gridPos"] for panel in PANELS]
    assert all(place["x"] + place["w"] <= 24 for place in places)
    for one, other in combinations(places, 2):
        beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert beside or above, (one, other)

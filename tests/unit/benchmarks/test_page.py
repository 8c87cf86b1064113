"""The report is one page that fetches nothing and says of every target what became of it."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from benchmarks import summary
from benchmarks.harness import plots
from benchmarks.harness.latencies import Histogram, write_log
from benchmarks.harness.page import render
from benchmarks.harness.results import TARGETS, latest, read_results
from core.lifecycle import StartupError

LIVE: dict[str, Any] = {
    "subject": "Branchline",
    "work": {"subscribers": 1_000, "writes_per_second": 20},
    "delivery_ms": {"count": 3, "p50": 4.0, "p99": 9.0},
    "deliveries": 100,
    "deliveries_per_second": 20_000,
    "cpu_us_per_delivery": 12.5,
    "cpu_seconds": {"api": 0.25, "gateway": 0.5, "load: writers": 9.0},
    "hops_ms": {"relay": 1.0, "gateway": 2.5},
    "gateway_bytes_per_socket": 6_144,
    "invalid": [],
    "caveats": ["other programs <used> 10% of the machine"],
}


def keep(folder: Path, at: str, name: str, runs: dict[str, Any], **more: Any) -> None:
    content = {
        "name": name,
        "command": f"branchline bench {name}",
        "invalid": [],
        "verdicts": [],
        "machine": {"at": at, "commit": "abc", "cores": 2},
        "durability": {"fsync": "on"},
        "absent": {},
        "runs": runs,
    }
    folder.mkdir(exist_ok=True)
    folder.joinpath(f"{at}-{name}.json").write_text(json.dumps(content | more))
    histogram = Histogram()
    for microseconds in (1_000, 4_000, 9_000):
        histogram.add_us(microseconds, 1)
    log = folder / f"{at}-{name}.hlog"
    write_log(log, {f"{label}/delivery": histogram for label in runs}, start_s=0, seconds=1)


class Page(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in ("meta", "html", "body"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("html", "body"):
            assert self.open.pop() == tag


def test_it_is_whole_and_fetches_nothing(tmp_path: Path) -> None:
    verdicts = [
        {"target": "P3", "met": True, "figures": "11 µs"},
        {"target": "P5", "met": None, "figures": "no"},
    ]
    runs = {"1,000 x 20": LIVE, "bad, one": LIVE | {"invalid": ["a change was lost"]}}
    keep(tmp_path, "1", "fan_out", runs, verdicts=verdicts, absent={"Nchan": "no apt"})
    text = render(read_results(tmp_path))
    page = Page(text)
    assert page.open == []
    ids = {f"#{attributes['id']}" for _, attributes in page.seen if "id" in attributes}
    links = [attributes["href"] for _, attributes in page.seen if "href" in attributes]
    assert links
    assert ids.issuperset(links)
    assert not [attributes for _, attributes in page.seen if {"src", "xlink:href"} & attributes.keys()]
    assert "http" not in re.sub(r"</?title>", "", text)
    assert [tag for tag, _ in page.seen].count("svg") >= 4
    for words in (
        "a change was lost",
        "no apt",
        "invalid: no figure",
        "&lt;used&gt;",
        "branchline bench fan_out",
        "fsync",
    ):
        assert words in text, words
    assert "load: writers" not in text
    for target in TARGETS:
        assert f"<td>{target}</td>" in text
    assert text.count("not measured in this run") == len(TARGETS) - 2


def test_a_histogram_comes_back_from_the_log_under_its_label(tmp_path: Path) -> None:
    keep(tmp_path, "1", "fan_out", {"bad, one": LIVE})
    (result,) = read_results(tmp_path)
    assert result.histograms["bad, one/delivery"].count == 3
    assert round(result.histograms["bad, one/delivery"].max_ms) == 9


def test_of_a_benchmark_that_ran_twice_the_last_counts_and_earlier_ones_are_compared(tmp_path: Path) -> None:
    keep(tmp_path / "now", "1", "fan_out", {"run": LIVE | {"cpu_us_per_delivery": 99.0}})
    keep(tmp_path / "now", "2", "fan_out", {"run": LIVE | {"cpu_us_per_delivery": 6.0}})
    keep(tmp_path / "before", "0", "fan_out", {"run": LIVE | {"cpu_us_per_delivery": 12.0}})
    now, before = (latest(read_results(tmp_path / name)) for name in ("now", "before"))
    assert len(now) == 1
    compared = render(now, before)
    assert "Compared with the earlier run" in compared
    assert (
        '<td>CPU a delivery, µs</td><td class="number">12</td><td class="number">6</td><td class="number">0.50</td>'
        in compared
    )
    assert "Compared" not in render(now)


def test_what_is_wrong_with_a_whole_benchmark_leaves_no_figure_of_any_of_its_runs(tmp_path: Path) -> None:
    verdict = {"target": "P10", "met": None, "figures": "", "valid": False}
    fault = "3 answers: HTTP 500"
    keep(tmp_path / "now", "1", "lists", {"run": LIVE}, invalid=[fault], verdicts=[verdict])
    keep(tmp_path / "before", "0", "lists", {"run": LIVE})
    now, before = (read_results(tmp_path / name) for name in ("now", "before"))
    text = render(now, before)
    assert "1 of invalid runs" in text
    assert '<span class="missed">invalid</span>' in text
    assert f"lists: INVALID: {fault}" in text
    assert "invalid: no figure" in text
    assert "<svg" not in text
    assert "12.5" not in text


def test_the_command_writes_the_page_and_ends_as_the_runs_did(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(StartupError, match="no results"):
        summary.run(tmp_path, None)
    keep(
        tmp_path,
        "1",
        "latency",
        {"run 1": LIVE},
        verdicts=[{"target": "P1", "met": False, "figures": "slow"}],
    )
    assert summary.run(tmp_path, None) == 0
    assert "P1: MISSED: slow" in capsys.readouterr().out
    keep(tmp_path, "2", "latency", {"run 1": LIVE}, invalid=["run 1: a change was lost"])
    assert summary.run(tmp_path, None) == 1
    assert (tmp_path / "report.html").read_text().startswith("<!doctype html>")


def test_axes_put_values_where_they_belong() -> None:
    axis = plots.logarithmic("ms", [0.0, 3.0, 250.0])
    names = [name for _, name in axis.ticks]
    assert (axis.low, axis.high, names) == (2.0, 500.0, ["2", "5", "10", "20", "50", "100", "200", "500"])
    assert [round(axis.share(value), 2) for value in (0.5, 2, 20, 500, 9_999)] == [0, 0, 0.42, 1, 1]
    assert plots.logarithmic("ms", [1.0, 1.0]).high == 2.0
    percentiles = plots.percentiles()
    places = [percentiles.share(plots.percentile_place(point)) for point in (0, 90, 99, 99.9)]
    assert [round(place, 2) for place in places] == [0, 0.25, 0.5, 0.75]


def test_memory_is_shown_of_gateways_and_peers_that_had_served_nothing_before(tmp_path: Path) -> None:
    keep(tmp_path, "1", "fan_out", {"reused": LIVE})
    keep(tmp_path, "2", "peers", {"peer": LIVE | {"subject": "Node ws"}})
    keep(tmp_path, "3", "idle_memory", {"fresh": LIVE})
    memory = render(read_results(tmp_path)).split("Memory of an idle connection</h2>")[1].split("<h2")[0]
    assert [label in memory for label in ("reused", "peer", "fresh")] == [False, True, True]


def test_what_is_no_result_is_named(tmp_path: Path) -> None:
    for content in ("{", "[]", "{}"):
        (tmp_path / "1-other.json").write_text(content)
        with pytest.raises(StartupError, match=r"1-other\.json is no result"):
            read_results(tmp_path)

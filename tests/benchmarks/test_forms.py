"""Every benchmark in a short form: it measures, checks what it measured, and judges. Figures do not matter here."""

import asyncio
import json
import os
import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks import big_log, gateways, lists, login_flood, reconnect_storm, slow_readers, sync_rate
from benchmarks.harness import report
from benchmarks.harness.accounting import list_processes
from benchmarks.harness.branchline import run_live
from benchmarks.harness.live import Work
from benchmarks.harness.people import Connection
from benchmarks.harness.stack import Stack, run_stack

WRITTEN = "SELECT count(*) FROM leads"


@pytest.fixture(autouse=True)
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the results go."""
    monkeypatch.setattr(report, "_folder", tmp_path)
    return tmp_path


def kept(folder: Path) -> dict[str, Any]:
    (path,) = folder.glob("*.json")
    content: dict[str, Any] = json.loads(path.read_text())
    assert path.with_suffix(".hlog").exists()
    return content


def storm(stack: Stack) -> int:
    work = reconnect_storm.Storm(12, 3, 7, 1.0, seed=5, first_wait_seconds=1.0)
    return reconnect_storm.run(stack, work)


def flood(stack: Stack) -> int:
    return login_flood.run(stack, knocks=50, writes=10, seconds=1, repeats=1)


FORMS: dict[str, tuple[Callable[[Stack], int], str]] = {
    "sync_rate": (lambda stack: sync_rate.run(stack, seconds=1, batch=10, connections=2, seed=3), "P4"),
    "lists": (lambda stack: lists.run(stack, contacts=1_000, seconds=1), "P10"),
    "login_flood": (flood, "a login flood"),
    "big_log": (
        lambda stack: big_log.run(stack, big_log.Size(6_000, 22), seconds=1, seed=2),
        "P7",
    ),
}


# At the end of a flood dozens of passwords wait, behind everything else that the machine has to do.
LONG = {"login_flood"}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.long] if name in LONG else []) for name in FORMS]
)
def test_a_benchmark_measures_and_judges(bench_stack: Stack, results: Path, name: str) -> None:
    run, target = FORMS[name]
    status = run(bench_stack)
    content = kept(results)
    assert content["invalid"] == []
    assert status == 0
    assert any(verdict["target"].startswith(target) for verdict in content["verdicts"])
    assert content["durability"]["fsync"] == "on"
    assert all(run for run in content["runs"].values())


def test_readers_that_were_not_noticed_spoil_the_run(bench_stack: Stack, results: Path) -> None:
    """With a trickle of writes no buffer fills, so nothing was shown about those that do not read."""
    assert slow_readers.run(bench_stack, subscribers=6, stuck=1, writes=2, seconds=1, repeats=1) == 1
    assert "nobody was cut off" in kept(results)["invalid"][-1]


def test_a_storm_is_weathered_and_every_client_has_what_postgresql_has(results: Path) -> None:
    with run_stack() as stack:
        assert storm(stack) == 0
    content = kept(results)
    figures = content["runs"]["storm"]["figures"]
    assert (figures["snapshots"], figures["tries"] >= 12) == (0, True)
    assert figures["reads of the log a range"] > 0
    (verdict,) = content["verdicts"]
    assert verdict["target"] == "P6 with 12 clients only"
    assert verdict["met"] is not None


def test_more_gateways_are_compared_with_one(results: Path) -> None:
    assert gateways.run(numbers=[1, 2], subscribers=10, writes=10, seconds=1) == 0
    targets = [verdict["target"] for verdict in kept(results)["verdicts"]]
    assert targets == [
        "P8, deliveries with two gateways",
        "P8, CPU a delivery with two gateways",
        "P8, a write with 2 gateways",
    ]


def test_where_there_are_cores_enough_one_and_two_gateways_go_flat_out(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateways, "CORES", 1)
    assert gateways.run(numbers=[1, 2], subscribers=10, writes=10, seconds=1) == 0
    content = kept(results)
    assert {"1 gateway, flat out", "2 gateways, flat out"} < content["runs"].keys()
    verdict = content["verdicts"][0]
    assert verdict["met"] is not None
    assert "flat out" in verdict["figures"]


def test_flat_out_every_connection_waits_for_its_answer(bench_stack: Stack) -> None:
    work = Work(5, 0, 1.0, warm_up_seconds=0.2, connections=2)
    outcome = asyncio.run(run_live(bench_stack, work))
    assert outcome.invalid == []
    assert outcome.written.acknowledged > 2
    assert work.label == "5 × flat out"
    assert replace(work, writes_per_second=20).label == "5 × 20"


async def test_a_run_in_which_a_process_was_replaced_has_no_figure(
    bench_stack: Stack, bench_owner: Connection
) -> None:
    """What it used before it ended is not known any more."""
    relay = list_processes(bench_stack.home, bench_stack.up_pid)["relay"]
    work = Work(5, 20, 3.0, warm_up_seconds=0.2)
    before = await bench_owner.fetchval(WRITTEN)
    running = asyncio.create_task(run_live(bench_stack, work))
    async with asyncio.timeout(60):
        while await bench_owner.fetchval(WRITTEN) < before + 10:
            await asyncio.sleep(0.05)
    os.kill(relay, signal.SIGKILL)
    assert "relay ended or was started during the run" in (await running).invalid

"""Locust's users work for real, check what they are sent, and report deliveries as an entry of their own."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.harness.enrol import enrol
from benchmarks.harness.people import Connection
from benchmarks.harness.stack import Stack
from tests.servers import ROOT


def run_locust(stack: Stack, folder: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "locust", "-f", str(ROOT / "benchmarks" / "locustfile.py"), "--headless"]
    command += ["--host", stack.api_url, "-u", "6", "-r", "6", "-t", "12s", "--people", "3", "--leads", "20"]
    command += ["--json-file", str(folder / "stats"), *options]
    environment = os.environ | {"BRANCHLINE_HOME": str(stack.home)}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=150, check=False
    )


def test_branches_at_work_are_measured_and_lose_nothing(bench_stack: Stack, tmp_path: Path) -> None:
    finished = run_locust(bench_stack, tmp_path, "MondayMorning", "BulkImport", "FlakyLine")
    assert finished.returncode == 0, finished.stdout + finished.stderr
    entries: dict[str, Any] = {
        each["name"]: each for each in json.loads((tmp_path / "stats.json").read_text())
    }
    assert entries["delivery"]["num_requests"] > 100
    assert entries["POST /api/sync (100)"]["num_requests"] > 0
    assert entries["connect"]["num_requests"] >= 6
    assert sum(each["num_failures"] for each in entries.values()) == 0
    assert "deliveries, from due time to arrival: p50" in finished.stdout + finished.stderr
    assert "Deprecat" not in finished.stdout + finished.stderr


def test_a_run_in_which_nothing_came_is_no_success(bench_stack: Stack, tmp_path: Path) -> None:
    finished = run_locust(bench_stack, tmp_path, "-u", "1", "-t", "1s", "QuietOffice")
    assert finished.returncode == 1
    assert "nothing was delivered" in finished.stdout + finished.stderr


def test_without_a_system_it_says_so(bench_stack: Stack, tmp_path: Path) -> None:
    gone = Stack(**{**{name: getattr(bench_stack, name) for name in bench_stack.__slots__}, "home": tmp_path})
    finished = run_locust(gone, tmp_path, "QuietOffice")
    assert finished.returncode != 0
    assert "could not be made" in finished.stdout + finished.stderr


@pytest.mark.parametrize("seed", [1, 2])
async def test_the_data_is_skewed_and_from_the_seed(
    bench_stack: Stack, bench_owner: Connection, seed: int
) -> None:
    key = bench_stack.signing_key
    made = [
        await enrol(bench_stack.owner_database_url, key, people=1, leads=300, seed=of) for of in (seed, seed)
    ]
    names, statuses = [], []
    for each in made:
        rows = await bench_owner.fetch(
            "SELECT name, status::text FROM leads WHERE organization_id = $1 ORDER BY id",
            each["organization_id"],
        )
        names.append([row["name"] for row in rows])
        statuses.append([row["status"] for row in rows])
    assert names[0] == names[1]
    assert len(set(names[0])) > 100
    assert statuses[0].count("new") > 3 * statuses[0].count("won")

"""The report of a folder of results: one page of HTML, and the verdicts once more for the terminal."""

from pathlib import Path

from benchmarks.harness.page import render
from benchmarks.harness.results import describe_verdict, latest, read_results
from core.lifecycle import StartupError

PAGE = "report.html"


def run(folder: Path, against: Path | None) -> int:
    """Write `report.html` into the folder, compared with an earlier one; the exit status: 1 if a run was invalid."""
    results = latest(read_results(folder))
    if not results:
        raise StartupError(f"there are no results in {folder}: `branchline bench` makes some.")
    earlier = [] if against is None else latest(read_results(against))
    if against is not None and not earlier:
        raise StartupError(f"there are no results in {against} to compare with.")
    page = folder / PAGE
    page.write_text(render(results, earlier))
    for result in results:
        for verdict in result.verdicts:
            print(describe_verdict(verdict))
    invalid = [f"{result.name}: {fault}" for result in results for fault in result.content["invalid"]]
    for fault in invalid:
        print(f"INVALID: {fault}")
    print(f"report: {page}")
    return 1 if invalid else 0

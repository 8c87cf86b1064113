"""Results that were kept: the JSON and the HDR log of each benchmark in a folder, read back."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.harness.latencies import Histogram
from core.lifecycle import StartupError

TARGETS = tuple(f"P{number}" for number in range(1, 13))
_LOG_LINE = re.compile(r"^Tag=(?P<tag>.*),[\d.]+,[\d.]+,[\d.]+,(?P<encoded>[^,]+)$")
_TARGET = re.compile(r"^(P\d+)\b")


@dataclass(frozen=True, slots=True)
class Result:
    """One benchmark's result. `runs` by label, `histograms` by `<label>/<what>`."""

    name: str
    content: Mapping[str, Any]
    histograms: Mapping[str, Histogram]

    @property
    def runs(self) -> Mapping[str, Mapping[str, Any]]:
        """Those that are figures of some work; by their labels. `invalid` also has what is wrong with all."""
        runs = {label: run for label, run in self.content["runs"].items() if isinstance(run, dict)}
        shared = [
            fault
            for fault in self.content["invalid"]
            if not fault.startswith(tuple(f"{each}: " for each in runs))
        ]
        return {label: {**run, "invalid": [*run.get("invalid", ()), *shared]} for label, run in runs.items()}

    @property
    def verdicts(self) -> list[dict[str, Any]]:
        """A target, whether it was met, and the figures."""
        return list(self.content["verdicts"])


def read_results(folder: Path) -> list[Result]:
    """All results of a folder in the order in which they were made; of a benchmark that ran twice, both."""
    return [_read(path) for path in sorted(folder.glob("*.json"))]


def latest(results: list[Result]) -> list[Result]:
    """Of each benchmark the last result."""
    return list({result.name: result for result in results}.values())


def describe_verdict(verdict: Mapping[str, Any]) -> str:
    """The verdict as a line for a person."""
    word = verdict_word(verdict)
    return f"{verdict['target']}: {word}" + (f": {verdict['figures']}" if verdict["figures"] else "")


def verdict_word(verdict: Mapping[str, Any]) -> str:
    """Met, missed, invalid, or why it is none of these."""
    if not verdict.get("valid", True):
        return "INVALID"
    return {True: "met", False: "MISSED", None: "not measurable"}[verdict["met"]]


def target_of(verdict: Mapping[str, Any]) -> str | None:
    """P1 to P12, or None where a verdict is about something else."""
    found = _TARGET.match(verdict["target"])
    return found.group(1) if found else None


def _read(path: Path) -> Result:
    try:
        content = json.loads(path.read_text())
        name = content["name"]
    except (ValueError, TypeError, KeyError) as error:
        raise StartupError(
            f"{path} is no result of a benchmark ({type(error).__name__}): take it out of the folder."
        ) from None
    log = path.with_suffix(".hlog")
    histograms = {}
    for line in log.read_text().splitlines() if log.exists() else ():
        found = _LOG_LINE.match(line)
        if found:
            histograms[found["tag"].replace(";", ",")] = Histogram(found["encoded"])
    return Result(name, content, histograms)

"""The table of the README: every system on the same works, medians of several runs, and how Branchline compares."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.harness.report import median
from core.lifecycle import StartupError

OURS = "Branchline"
_HEAD = (
    "| work | system | delivered, p50 / p99 (lowest–highest) ms | deliveries/s | CPU a delivery | bytes "
    "| p99, CPU: Branchline is |",
    "|---|---|---|---|---|---|---|",
)


def show(folder: Path) -> None:
    """Print the table of the results of `peers` in a folder."""
    contents = [json.loads(path.read_text()) for path in sorted(folder.glob("*-peers.json"))]
    if not contents:
        raise StartupError(f"there are no results of `branchline bench peers` in {folder}.")
    machine = contents[-1]["machine"]
    print(
        f"{machine['cores']} cores, {machine['processor']}, Python {machine['python']}; medians of {len(contents)}:\n"
    )
    for line in table([content["runs"] for content in contents]):
        print(line)
    for name, reason in contents[-1]["absent"].items():
        print(f"\nAbsent: {name}: {reason}")


def table(runs: Sequence[Mapping[str, Mapping[str, Any]]]) -> list[str]:
    """Lines of Markdown from the runs of each measurement, by labels `<system>, <work>`. Invalid runs do not count."""
    labels = list(dict.fromkeys(label for each in runs for label in each))
    by_work: dict[str, list[str]] = {}
    for label in labels:
        by_work.setdefault(label.partition(", ")[2], []).append(label)
    lines = list(_HEAD)
    for work, of_work in by_work.items():
        figures = {label: _figures(runs, label) for label in of_work}
        ours = figures.get(f"{OURS}, {work}")
        lines += [_line(work, label.partition(", ")[0], each, ours) for label, each in figures.items()]
    return lines


def _figures(runs: Sequence[Mapping[str, Mapping[str, Any]]], label: str) -> dict[str, float] | None:
    valid = [each[label] for each in runs if label in each and not each[label]["invalid"]]
    if not valid:
        return None
    return {
        "p50": median([run["delivery_ms"]["p50"] for run in valid]),
        "p99": median(p99 := [run["delivery_ms"]["p99"] for run in valid]),
        "p99_low": min(p99),
        "p99_high": max(p99),
        **{
            name: median([run[name] for run in valid])
            for name in ("deliveries_per_second", "cpu_us_per_delivery", "bytes_per_delivery")
        },
    }


def _line(
    work: str, system: str, figures: Mapping[str, float] | None, ours: Mapping[str, float] | None
) -> str:
    if figures is None:
        return f"| {work} | {system} | no valid run | | | | |"
    ratio = ""
    if ours is not None and system != OURS:
        p99, cpu = (ours[name] / max(figures[name], 0.001) for name in ("p99", "cpu_us_per_delivery"))
        ratio = f"{p99:.2f}, {cpu:.2f} times"
    latency = (
        f"{figures['p50']:.1f} / {figures['p99']:.1f} ({figures['p99_low']:.1f}–{figures['p99_high']:.1f})"
    )
    return (
        f"| {work} | {system} | {latency} | {figures['deliveries_per_second']:,.0f} | "
        f"{figures['cpu_us_per_delivery']:.1f} µs | {figures['bytes_per_delivery']:,.0f} | {ratio} |"
    )

"""`make audit`: asks the advisory service for known faults of everything that the locks pin.

It ends with 0 only if something was examined and nothing was found: a source of advisories that cannot be reached, or a
lock that holds nothing, is no clean bill.
"""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ("runtime.txt", "development.txt")
CLEAN, FOUND, NOT_EXAMINED = 0, 1, 2
AUDIT_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one lock."""

    status: int
    lines: tuple[str, ...]


def judge(lock: str, report: str) -> Verdict:
    """Judge pip-audit's report in JSON; an empty one is that of a run that did not come to an end."""
    try:
        dependencies: list[dict[str, Any]] = json.loads(report)["dependencies"]
    except (ValueError, KeyError, TypeError):
        return Verdict(
            NOT_EXAMINED, (f"{lock}: nothing was examined: the source of advisories did not answer",)
        )
    skipped = [each["name"] for each in dependencies if "skip_reason" in each]
    examined = len(dependencies) - len(skipped)
    if not examined or skipped:
        return Verdict(NOT_EXAMINED, (f"{lock}: {examined} packages were examined, {len(skipped)} were not",))
    lines = [
        f"{lock}: {each['name']} {each['version']}: {fault['id']}, mended in "
        f"{', '.join(fault['fix_versions']) or 'none'}"
        for each in dependencies
        for fault in each["vulns"]
    ]
    if lines:
        return Verdict(FOUND, tuple(lines))
    return Verdict(CLEAN, (f"{lock}: {examined} packages were examined, no fault is known",))


def examine(lock: Path) -> Verdict:
    """Have one lock examined."""
    command = [sys.executable, "-m", "pip_audit", "--format=json", "--progress-spinner=off", "--disable-pip"]
    try:
        finished = subprocess.run(
            [*command, "--require-hashes", f"--requirement={lock}"],
            capture_output=True,
            text=True,
            timeout=AUDIT_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return judge(lock.name, "")
    return judge(lock.name, finished.stdout)


def main() -> int:
    """Examine every lock and say what was found."""
    verdicts = [examine(ROOT / "requirements" / name) for name in LOCKS]
    for verdict in verdicts:
        print("\n".join(verdict.lines))
    return max(verdict.status for verdict in verdicts)


if __name__ == "__main__":
    sys.exit(main())

"""What a check of `branchline doctor` has found."""

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["ok", "problem", "skipped"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of doctor's: what was looked at and how it is, and, for a problem, how to mend it."""

    verdict: Verdict
    what: str
    mend: str = ""


def ok(what: str) -> Finding:
    """Nothing to do."""
    return Finding("ok", what)


def problem(what: str, mend: str) -> Finding:
    """Something to mend, and how."""
    return Finding("problem", what, mend)


def skipped(what: str) -> Finding:
    """Nothing that could be looked at."""
    return Finding("skipped", what)


def judge(good: bool, what_good: str, what_bad: str, mend: str) -> Finding:
    """One of the two."""
    return ok(what_good) if good else problem(what_bad, mend)

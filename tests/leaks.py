"""What no log may hold: tokens, tickets, hashes of passwords, links of mails, canaries.

Read are the logs of every `branchline up` that a test or a benchmark's test starts, at its end; what each test and the
application in its process have printed, as the test ends; and once more all logs in `test-results/`, Node's too, at the
end of `make test`.
"""

import re
from collections.abc import Generator, Iterable
from pathlib import Path

import pytest

PATTERNS = {
    "an access token": re.compile(r"eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}"),
    "a ticket": re.compile(r"ticket=(?!\[redacted\])[A-Za-z0-9_-]{8,}"),
    "a portal token": re.compile(r"portal_[A-Za-z0-9_-]{20,}"),
    "a bearer": re.compile(r"[Bb]earer\s+[A-Za-z0-9._-]{20,}"),
    "a password's hash": re.compile(r"\$argon2id\$"),
    "a link of a mail": re.compile(r"#(reset|invitation)=[A-Za-z0-9_-]{8,}"),
    "a private key": re.compile(r"BEGIN [A-Z ]*PRIVATE KEY"),
    "a password in an address": re.compile(r"\w+://[^:/@\s\"']+:(?!\[redacted\]|\*)[^@/\s\"']+@"),
    "a canary": re.compile(r"canary", re.IGNORECASE),
}


def leaks_in(text: str, secrets: Iterable[str] = ()) -> list[str]:
    """Name what a log holds that it must not; `secrets` are values that are known. The values are not repeated."""
    found = [kind for kind, pattern in PATTERNS.items() if pattern.search(text)]
    return [*found, *(f"a known secret ({secret[:3]}…)" for secret in secrets if secret in text)]


def leaks_of(folder: Path, secrets: Iterable[str] = (), *, since: float = 0.0) -> dict[str, list[str]]:
    """The leaks of every log in a folder and those below it, written since a time (Unix seconds), by the file's name.

    `up.err` is a log as well: what `branchline up` says to the person at the terminal.
    """
    known = list(secrets)
    logs = [*folder.rglob("*.log"), *folder.rglob("up.err")]
    found = {
        str(path.relative_to(folder)): leaks_in(path.read_text(errors="replace"), known)
        for path in logs
        if path.is_file() and path.stat().st_mtime >= since
    }
    return {name: leaks for name, leaks in found.items() if leaks}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Have a test fail whose output holds what no log may: the application that ran in its process logs there."""
    report = yield
    if report.when == "teardown" and report.passed:
        printed = "\n".join(text for name, text in report.sections if name.startswith("Captured"))
        if leaks := leaks_in(printed):
            report.outcome = "failed"
            report.longrepr = f"the output of {item.nodeid} holds what no log may hold: {', '.join(leaks)}"
    return report

"""`make audit` says that all is well only where something was examined."""

import json
from typing import Any

import pytest

from tools.audit import CLEAN, FOUND, NOT_EXAMINED, judge

FAULT = {"id": "PYSEC-2026-1", "fix_versions": ["2.0"], "description": "bad"}


def report(*dependencies: dict[str, Any]) -> str:
    return json.dumps({"dependencies": list(dependencies), "fixes": []})


@pytest.mark.parametrize(
    ("text", "status", "words"),
    [
        ("", NOT_EXAMINED, "did not answer"),
        ("no route to host", NOT_EXAMINED, "did not answer"),
        ("{}", NOT_EXAMINED, "did not answer"),
        (report(), NOT_EXAMINED, "0 packages were examined"),
        (report({"name": "a", "skip_reason": "unknown"}), NOT_EXAMINED, "1 were not"),
        (report({"name": "a", "version": "1.0", "vulns": []}), CLEAN, "1 packages were examined"),
        (
            report({"name": "a", "version": "1.0", "vulns": [FAULT]}),
            FOUND,
            "a 1.0: PYSEC-2026-1, mended in 2.0",
        ),
    ],
)
def test_the_verdict_on_a_report(text: str, status: int, words: str) -> None:
    verdict = judge("runtime.txt", text)
    assert verdict.status == status
    assert words in verdict.lines[0]

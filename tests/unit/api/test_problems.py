"""Problems, and the documentation's table of them."""

import re
from pathlib import Path

import orjson
import pytest

from api.problems import CODES, ProblemError, encode_problem, problem_response
from api.validation import FieldFault

ROOT = Path(__file__).resolve().parents[3]


def test_the_documented_table_is_the_codes_table() -> None:
    """Whoever adds a code adds its row."""
    text = (ROOT / "docs" / "errors.md").read_text()
    rows = re.findall(r"^\| `([a-z_]+)` \| (\d{3}) \| (.+?) \| (.+?) \|$", text, re.MULTILINE)
    expected = [(name, str(code.status), code.title, code.reaction) for name, code in CODES.items()]
    assert rows == expected


def test_every_code_that_is_raised_is_in_the_table() -> None:
    for path in (ROOT / "api").rglob("*.py"):
        for name in re.findall(r"ProblemError\(\s*\"([a-z_]+)\"", path.read_text()):
            assert name in CODES, f"{name} in {path.name}"


def test_a_problem_has_the_members_of_rfc_9457_and_ours() -> None:
    problem = ProblemError(
        "invalid",
        "words",
        errors=[FieldFault("name", "a text", "the number 5")],
        extra={"record": orjson.Fragment(b'{"id":"x"}')},
    )
    assert orjson.loads(encode_problem(problem)) == {
        "type": "urn:branchline:problem:invalid",
        "title": CODES["invalid"].title,
        "status": 422,
        "code": "invalid",
        "detail": "words",
        "errors": [{"field": "name", "expected": "a text", "came": "the number 5"}],
        "record": {"id": "x"},
    }


@pytest.mark.parametrize(
    ("code", "header"), [("token_expired", "www-authenticate"), ("unavailable", "retry-after")]
)
def test_what_a_client_does_next_is_in_the_headers(code: str, header: str) -> None:
    response = problem_response(ProblemError(code, "words"))
    assert response.headers[header]
    assert response.headers["cache-control"] == "no-store"

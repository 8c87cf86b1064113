"""Requests made of the OpenAPI document: never a 5xx, never a status or a body that is not documented."""

from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.stack import DEMO_PASSWORD, Stack

CHECKS: list[Any] = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
# They end the session that the others need, or have a test of their own that knows what to send.
LEFT_OUT = {"/api/auth/logout", "/api/auth/sessions/{id}", "/api/auth/password"}


def examine(stack: Stack, examples: int) -> None:
    answer = httpx.post(
        f"{stack.api_url}/api/auth/login",
        json={"email": "olga@other.test", "password": DEMO_PASSWORD},
        timeout=30,
    )
    headers = {"Authorization": f"Bearer {answer.json()['access_token']}"}
    schema = schemathesis.openapi.from_url(f"{stack.api_url}/openapi.json")
    operations = [each.ok() for each in schema.get_all_operations() if isinstance(each, Ok)]
    assert len(operations) > 100
    for operation in operations:
        if operation.path in LEFT_OUT:
            continue

        @given(case=operation.as_strategy())
        @settings(
            max_examples=examples,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        def ask(case: schemathesis.Case[Any]) -> None:
            case.call_and_validate(headers=headers, checks=CHECKS, timeout=30)

        ask()


def test_no_request_of_the_document_meets_a_server_error_or_an_answer_that_is_not_documented(
    stack: Stack,
) -> None:
    examine(stack, 4)


@pytest.mark.long
def test_hundreds_of_requests_of_each_operation(stack: Stack) -> None:
    examine(stack, 200)

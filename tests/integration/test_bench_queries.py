"""The statements of the benchmarks fit the schema."""

import pytest

from core.queries import load
from tests.tenants import Connection

STATEMENTS = vars(load("benchmarks.harness"))


@pytest.mark.parametrize("name", STATEMENTS)
async def test_a_statement_can_be_prepared(owner: Connection, name: str) -> None:
    await owner.prepare(STATEMENTS[name])

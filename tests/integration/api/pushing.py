"""Pushing by `/api/sync`, for tests: the client's time, its clocks and mutations."""

import time
import uuid
from typing import Any

import httpx

from tests.tenants import new_id

CLIENT = "0a0a0a0a-0000-4000-8000-00000000000a"


def now_ms() -> int:
    """This client's time, which is right."""
    return int(time.time() * 1000)


def clock(ms: int, counter: int = 0) -> str:
    """A clock of this client."""
    return f"{ms:013d}-{counter:04x}-{CLIENT}"


def mutation(operation: str, record: str, collection: str = "leads", **more: Any) -> dict[str, Any]:
    """A mutation with an id of its own."""
    return {"mutation_id": new_id(), "collection": collection, "id": record, "operation": operation, **more}


async def push(client: httpx.AsyncClient, *mutations: Any, skew_ms: int = 0) -> list[dict[str, Any]]:
    """Push; give the results, which have to name each mutation in order."""
    body = {"client_id": CLIENT, "now_ms": now_ms() + skew_ms, "mutations": list(mutations)}
    answer = await client.post("/api/sync", json=body)
    assert answer.status_code == 200, answer.text
    results = answer.json()["results"]
    assert [r["mutation_id"] for r in results if r["mutation_id"] != str(uuid.UUID(int=0))] == [
        m["mutation_id"] for m in mutations if isinstance(m, dict) and "mutation_id" in m
    ]
    return list(results)

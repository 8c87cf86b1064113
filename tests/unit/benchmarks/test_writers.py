"""The writers send every write at its time, whatever became of the last one, and score what came back."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from typing import Any

import orjson

from benchmarks.harness.deltas import mark_due
from benchmarks.harness.requests import due_times
from benchmarks.harness.writers import Writer, Writes, run_writes


class Api:
    """Answers POST /api/leads with `status` after `delay` seconds, and keeps the bodies."""

    def __init__(self, delay: float = 0.0, status: bytes = b"201 Created") -> None:
        self.bodies: list[bytes] = []
        self.open = 0
        self._delay = delay
        self._status = status

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].split(b"\r")[0])
                body = await reader.readexactly(length)
                self.bodies.append(body)
                await asyncio.sleep(self._delay)
                bad = b"nonsense" in body
                status = b"422 Unprocessable Content" if bad else self._status
                writer.write(b"HTTP/1.1 " + status + b"\r\nContent-Length: 2\r\n\r\n{}")
        writer.close()
        self.open -= 1


@contextlib.asynccontextmanager
async def serving(api: Api) -> AsyncIterator[str]:
    server = await asyncio.start_server(api, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await server.wait_closed()
        async with asyncio.timeout(10):
            while api.open:
                await asyncio.sleep(0.01)


def plan(url: str, per_second: float, seconds: float, **more: Any) -> Writes:
    now = time.monotonic_ns()
    return Writes(url, (Writer("t", "branch"),), per_second, now, now + int(seconds * 1e9), **more)


async def test_writes_are_due_evenly_and_are_records_of_the_size_asked_for() -> None:
    api = Api()
    async with serving(api) as url:
        work = plan(url, 100, 0.3)
        written = await run_writes(work)
    assert (written.due, written.acknowledged, written.failures) == (30, 30, {})
    assert {len(body) for body in api.bodies} == {256}
    records = [orjson.loads(body) for body in api.bodies]
    assert sorted(record["id"] for record in records) == sorted(written.record_ids)
    assert sorted(record["notes"].split()[0] for record in records) == [
        mark_due(due) for due in due_times(work.per_second, work.from_ns, work.until_ns)
    ]


async def test_a_slow_server_delays_no_write_and_its_delay_is_measured() -> None:
    api = Api(delay=0.3)
    async with serving(api) as url:
        written = await run_writes(plan(url, 100, 0.5))
    assert written.acknowledged == 50
    assert written.latencies is not None
    assert written.lateness is not None
    assert written.latencies.histogram().percentile_ms(50) >= 300
    # All were under way at once: 50 writes that waited for each other would have taken 15 s.
    assert written.measured_seconds < 10


async def test_refusals_that_were_expected_and_failures_that_were_not_are_told_apart() -> None:
    async with serving(Api()) as url:
        written = await run_writes(plan(url, 100, 0.2, bad_each=10))
    assert (written.refused_as_expected, written.acknowledged, written.failures) == (2, 18, {})
    async with serving(Api(status=b"503 Service Unavailable")) as url:
        written = await run_writes(plan(url, 100, 0.1))
    assert (written.acknowledged, written.failures) == (0, {"HTTP 503": 10})


async def test_full_speed_keeps_every_connection_busy_until_the_end() -> None:
    api = Api()
    async with serving(api) as url:
        written = await run_writes(plan(url, 0, 0.3, connections=4))
    assert written.due == written.acknowledged == len(api.bodies) > 8

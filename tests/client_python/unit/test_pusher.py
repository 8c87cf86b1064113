"""The pusher: what an answer to a push means for its writes, and when it is tried again."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import httpx
import orjson
import pytest

from branchline_client.api import Api
from branchline_client.backoff import RetryPolicy
from branchline_client.credentials import Credentials
from branchline_client.errors import WriteRefusedError
from branchline_client.identity import new_id
from branchline_client.pusher import Pusher
from branchline_client.store import Store
from branchline_client.tasks import Tasks
from branchline_client.writer import Write, Writer

Answer = Callable[[list[dict[str, Any]]], httpx.Response]
CLIENT_ID = "00000000-0000-4000-8000-00000000000a"


def applied(mutations: Sequence[dict[str, Any]]) -> httpx.Response:
    results = [{"mutation_id": each["mutation_id"], "status": "applied", "version": 1} for each in mutations]
    return httpx.Response(200, json={"results": results, "epoch": "e", "offset": 9})


def problem(status: int, code: str = "x", **headers: str) -> httpx.Response:
    return httpx.Response(status, json={"code": code, "detail": "words"}, headers=headers)


class Bench:
    """A writer, a pusher, and a server that answers by a script: the last answer of it for ever."""

    def __init__(self, writer: Writer, tasks: Tasks) -> None:
        self.writer = writer
        self.tasks = tasks
        self.script: list[Answer] = []
        self.pushes: list[list[dict[str, Any]]] = []
        self.tokens: list[str] = []
        self.api = Api("http://api.test", Credentials(self._token), httpx.MockTransport(self._answer))
        self.pusher = Pusher(
            writer,
            self.api,
            RetryPolicy(base_ms=1, cap_ms=5),
            may_push=lambda: True,
            identify=self._identify,
            pushed=lambda: None,
        )
        writer.kept = self.pusher.kick

    async def _identify(self) -> bool:
        return True

    async def _token(self) -> str:
        return f"token-{len(self.tokens)}"

    def _answer(self, request: httpx.Request) -> httpx.Response:
        mutations = orjson.loads(request.content)["mutations"]
        self.pushes.append(mutations)
        self.tokens.append(request.headers["authorization"])
        answer = self.script[0] if len(self.script) == 1 else self.script.pop(0)
        return answer(mutations)

    def insert(self, name: str) -> Write:
        return self.writer.write("insert", "leads", new_id(), {"name": name})

    async def run(self, *writes: Write, script: list[Answer]) -> list[Any]:
        self.script = script
        self.tasks.start(self.pusher.run(), name="push")
        async with asyncio.timeout(10):
            return await asyncio.gather(*(each.server for each in writes), return_exceptions=True)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    errors: list[BaseException] = []
    tasks = Tasks(errors.append)
    store, kept = await Store.open(None, lambda: CLIENT_ID)
    writer = Writer(store, kept, device_ms=lambda: 1_000, new_id=new_id, tasks=tasks, refused_tries=3)
    bench = Bench(writer, tasks)
    yield bench
    await tasks.close()
    await store.close()
    await bench.api.close()
    assert errors == []


async def test_what_is_queued_goes_in_one_request(bench: Bench) -> None:
    results = await bench.run(bench.insert("a"), bench.insert("b"), script=[applied])
    assert [each.status for each in results] == ["applied"] * 2
    assert [len(push) for push in bench.pushes] == [2]
    [mutation, _] = bench.pushes[0]
    assert mutation.keys() == {"mutation_id", "collection", "id", "operation", "fields", "clock"}


def unreachable(mutations: Sequence[dict[str, Any]]) -> httpx.Response:
    raise httpx.ConnectError("nobody")


@pytest.mark.parametrize(
    "away", [unreachable, *(lambda _, s=status: problem(s) for status in (404, 405, 408, 429, 502, 503, 504))]
)
async def test_a_server_that_is_away_says_nothing_of_a_write(bench: Bench, away: Answer) -> None:
    [result] = await bench.run(bench.insert("a"), script=[*[away] * 12, applied])
    assert result.status == "applied"
    assert len({push[0]["mutation_id"] for push in bench.pushes}) == 1
    assert bench.pushes[0] == bench.pushes[-1]


async def test_a_server_that_names_a_time_is_given_it(bench: Bench) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    busy = problem(429, "rate_exceeded", **{"retry-after": "1"})
    await bench.run(bench.insert("a"), script=[lambda _: busy, applied])
    assert loop.time() - began >= 1.0


async def test_a_refused_token_is_replaced_at_once(bench: Bench) -> None:
    await bench.run(bench.insert("a"), script=[lambda _: problem(401, "token_expired"), applied])
    assert len(set(bench.tokens)) == 2


def refusing(name: str, status: int) -> Answer:
    """A server that chokes on any request with a write of this name in it."""

    def answer(mutations: list[dict[str, Any]]) -> httpx.Response:
        if any(each["fields"]["name"] == name for each in mutations):
            return problem(status, "choked")
        return applied(mutations)

    return answer


@pytest.mark.parametrize(
    ("status", "code"), [(400, "choked"), (413, "choked"), (422, "choked"), (500, "internal")]
)
async def test_a_write_that_fails_whole_requests_is_found_and_put_into_the_inbox(
    bench: Bench, status: int, code: str
) -> None:
    writes = [bench.insert(name) for name in ("a", "b", "bad", "c", "d", "e", "f", "g")]
    results = await bench.run(*writes, script=[refusing("bad", status)])
    refused = [each for each in results if isinstance(each, WriteRefusedError)]
    assert [each.entry.mutation.fields["name"] for each in refused] == ["bad"]
    assert refused[0].code == code
    assert sum(not isinstance(each, Exception) for each in results) == 7


async def test_an_error_of_the_server_has_three_tries_at_least(bench: Bench) -> None:
    [result] = await bench.run(bench.insert("a"), script=[lambda _: problem(500)])
    assert isinstance(result, WriteRefusedError)
    assert len(bench.pushes) == 3
    assert list(bench.writer.inbox) == [result.entry.id]


async def test_an_answer_that_cannot_be_read_is_the_servers_trouble(bench: Bench) -> None:
    strange = httpx.Response(200, json={"results": "none"})
    [result] = await bench.run(bench.insert("a"), script=[lambda _: strange, applied])
    assert result.status == "applied"


async def test_a_write_that_the_answer_does_not_name_is_sent_again(bench: Bench) -> None:
    def half(mutations: list[dict[str, Any]]) -> httpx.Response:
        return applied(mutations[:1])

    results = await bench.run(bench.insert("a"), bench.insert("b"), script=[half, applied])
    assert [each.status for each in results] == ["applied"] * 2
    assert [len(push) for push in bench.pushes] == [2, 1]


async def test_what_waits_is_pushed_at_once_when_the_server_is_back(bench: Bench) -> None:
    bench.pusher._policy = RetryPolicy(base_ms=1_000_000, cap_ms=1_000_000)
    write = bench.insert("a")
    bench.script = [unreachable, applied]
    bench.tasks.start(bench.pusher.run(), name="push")
    async with asyncio.timeout(5):
        while not bench.pushes:
            await asyncio.sleep(0.001)
        bench.pusher.kick()
        await asyncio.sleep(0.01)
        assert len(bench.pushes) == 1
        bench.pusher.kick(afresh=True)
        await write.server

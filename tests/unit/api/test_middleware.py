"""The rim: how large a body may be and how long it may take, whoever reads it."""

from collections.abc import Iterator
from typing import Any

import anyio
import orjson
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from api import middleware
from api.middleware import Rim
from api.problems import ProblemError, problem_response

LIMIT = 10


async def echo(request: Request) -> PlainTextResponse:
    return PlainTextResponse(await request.body())


async def fail(request: Request) -> PlainTextResponse:
    raise RuntimeError("secret")


async def answer(request: Request, problem: Exception) -> Any:
    assert isinstance(problem, ProblemError)
    return problem_response(problem)


app = Starlette(
    routes=[Route("/echo", echo, methods=["POST"]), Route("/fail", fail)],
    exception_handlers={ProblemError: answer},
    middleware=[Middleware(Rim, limit_bytes=LIMIT)],
)


async def call(
    chunks: list[bytes], *, length: int | None = None, path: str = "/echo", pause: float = 0
) -> tuple[int, bytes]:
    """Status and body of a request whose body comes in chunks."""
    left: Iterator[bytes] = iter(chunks)
    sent: list[Any] = []

    async def receive() -> Any:
        await anyio.sleep(pause)
        chunk = next(left, None)
        if chunk is None:
            await anyio.sleep_forever()
        return {"type": "http.request", "body": chunk, "more_body": chunk != b""}

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [] if length is None else [(b"content-length", str(length).encode())]
    scope = {
        "type": "http",
        "method": "POST" if path == "/echo" else "GET",
        "path": path,
        "headers": headers,
        "query_string": b"",
        "root_path": "",
        "http_version": "1.1",
        "scheme": "http",
    }
    await app(scope, receive, send)
    names = {name for name, _ in sent[0]["headers"]}
    assert {b"x-content-type-options", b"content-security-policy"} <= names
    return sent[0]["status"], b"".join(each.get("body", b"") for each in sent[1:])


async def test_a_body_up_to_the_limit_is_read() -> None:
    assert await call([b"12345", b"67890", b""]) == (200, b"1234567890")
    assert await call([b"12345", b""], length=5) == (200, b"12345")


@pytest.mark.parametrize(
    ("chunks", "length"),
    [
        ([b"12345678901", b""], None),
        ([b"123456", b"123456", b""], None),
        ([], 11),
        ([b"12345678901", b""], 5),
    ],
)
async def test_a_body_over_the_limit_is_413_announced_or_not(chunks: list[bytes], length: int | None) -> None:
    status, body = await call(chunks, length=length)
    assert (status, orjson.loads(body)["code"]) == (413, "body_too_large")


async def test_a_body_that_does_not_come_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(middleware, "BODY_SECONDS", 0.05)
    status, body = await call([b"1"])
    assert (status, orjson.loads(body)["code"]) == (408, "request_timeout")


async def test_the_time_counts_for_the_whole_body(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a byte now and then would hold a request for ever."""
    monkeypatch.setattr(middleware, "BODY_SECONDS", 0.1)
    status, _ = await call([b"1"] * 9, pause=0.03)
    assert status == 408


async def test_an_unforeseen_error_is_500_without_its_words() -> None:
    status, body = await call([b""], path="/fail")
    assert status == 500
    assert orjson.loads(body)["error_id"]
    assert b"secret" not in body

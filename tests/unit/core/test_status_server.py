"""The three paths that every process answers, and the small server for those without an HTTP server."""

import asyncio
import os

import orjson
import pytest

from core.lifecycle import StartupError
from core.status_server import Readiness, StatusServer, status_response

HOST = "127.0.0.1"


def not_ready() -> Readiness:
    return Readiness(False, {"redis": {"ready": False, "error": "refused"}}, {"behind_changes": 3})


async def ask(port: int, request: bytes) -> tuple[str, bytes]:
    reader, writer = await asyncio.open_connection(HOST, port)
    writer.write(request)
    answer = await asyncio.wait_for(reader.read(-1), 5)
    writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    return head.decode().split("\r\n")[0], body


def test_readiness_names_the_dependency_that_is_missing() -> None:
    answer = status_response("/readyz?verbose", not_ready, "gateway")
    assert answer is not None
    assert answer.status == 503
    assert orjson.loads(answer.body) == {
        "ready": False,
        "role": "gateway",
        "pid": os.getpid(),
        "dependencies": {"redis": {"ready": False, "error": "refused"}},
        "behind_changes": 3,
    }


def test_a_process_that_is_not_ready_is_alive() -> None:
    answer = status_response("/healthz", not_ready, "relay")
    assert answer is not None
    assert (answer.status, answer.body) == (200, b'{"status":"ok","role":"relay"}')


def test_other_paths_are_left_to_the_caller() -> None:
    assert status_response("/ws", not_ready, "gateway") is None


async def test_the_server_answers_get_and_head_and_refuses_the_rest() -> None:
    async with StatusServer(HOST, 0, role="relay", readiness=lambda: Readiness(True)) as server:
        line, body = await ask(server.port, b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n")
        assert line == "HTTP/1.1 200 OK"
        assert orjson.loads(body) == {"ready": True, "role": "relay", "pid": os.getpid(), "dependencies": {}}
        line, body = await ask(server.port, b"GET /metrics HTTP/1.1\r\n\r\n")
        assert line == "HTTP/1.1 200 OK"
        assert b"branchline_hop_seconds" in body
        assert await ask(server.port, b"HEAD /metrics HTTP/1.1\r\n\r\n") == ("HTTP/1.1 200 OK", b"")
        assert (await ask(server.port, b"POST /readyz HTTP/1.1\r\n\r\n"))[
            0
        ] == "HTTP/1.1 405 Method Not Allowed"
        assert (await ask(server.port, b"GET / HTTP/1.1\r\n\r\n"))[0] == "HTTP/1.1 404 Not Found"
        assert (await ask(server.port, b"nonsense\r\n\r\n"))[0] == "HTTP/1.1 400 Bad Request"


async def test_an_endless_request_is_cut_off() -> None:
    async with StatusServer(HOST, 0, role="relay", readiness=lambda: Readiness(True)) as server:
        reader, writer = await asyncio.open_connection(HOST, server.port)
        writer.write(b"GET /" + b"a" * 20_000)
        try:
            assert await asyncio.wait_for(reader.read(-1), 5) == b""
        except ConnectionResetError:
            pass  # The server closed with bytes of ours unread.
        writer.close()


async def test_a_port_in_use_is_one_line() -> None:
    async with StatusServer(HOST, 0, role="relay", readiness=lambda: Readiness(True)) as server:
        with pytest.raises(StartupError, match=rf"relay cannot listen on {HOST}:{server.port}"):
            async with StatusServer(HOST, server.port, role="relay", readiness=lambda: Readiness(True)):
                pass

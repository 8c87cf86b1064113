"""The API as a process: its port, its limits on the wire, how it stops."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg
import httpx
import pytest

from cli.ports import pick_free
from core.settings import Settings
from core.tokens import Tokens
from tests.integration.api.conftest import SECRET, problem
from tests.servers import HOST, ROOT, Database
from tests.tenants import Tenant, create_tenant

START_SECONDS = 30.0


@pytest.fixture
def acme(module_database: Database) -> Tenant:
    """An organisation, for tests that wait for processes and not for coroutines."""

    async def make() -> Tenant:
        owner = await asyncpg.connect(module_database.owner_url)
        try:
            return await create_tenant(owner, "acme")
        finally:
            await owner.close()

    return asyncio.run(make())


@contextmanager
def process(settings: Settings, port: int) -> Iterator["subprocess.Popen[str]"]:
    """`branchline api` on a port; killed at the end if it still runs."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("BRANCHLINE_")},
        "DATABASE_URL": settings.database_url,
        "REDIS_URL": settings.redis_url,
        "BRANCHLINE_SECRET": SECRET,
        "BRANCHLINE_API_PORT": str(port),
    }
    running = subprocess.Popen(
        [sys.executable, "-m", "cli.main", "api"],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield running
    finally:
        if running.poll() is None:
            running.kill()
        running.wait()
        assert running.stderr is not None
        running.stderr.close()


@contextmanager
def serving(settings: Settings) -> Iterator[tuple["subprocess.Popen[str]", int]]:
    """The process, once it is ready, and its port."""
    port = pick_free(HOST)
    with process(settings, port) as running:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                if httpx.get(f"http://{HOST}:{port}/readyz").status_code == 200:
                    break
            except httpx.TransportError:
                pass
            assert running.poll() is None, "the API ended at once"
            assert time.monotonic() < deadline, "the API did not become ready"
            time.sleep(0.05)
        yield running, port


def wait_until_refused(port: int) -> None:
    """Wait until nobody listens any more."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        try:
            socket.create_connection((HOST, port), timeout=1).close()
        except OSError:
            return
        time.sleep(0.02)
    raise AssertionError("the port is still open")


def raw(port: int, request: bytes) -> bytes:
    """What the server answers to these bytes until it closes the connection."""
    with socket.create_connection((HOST, port), timeout=10) as connection:
        connection.sendall(request)
        answer = b""
        while part := connection.recv(65536):
            answer += part
        return answer


def test_on_the_wire_it_keeps_its_limits_and_stops_when_asked(settings: Settings, acme: Tenant) -> None:
    token = Tokens(SECRET).issue(acme.people["ana"], acme.id, acme.sessions["ana"])
    with serving(settings) as (running, port), httpx.Client(base_url=f"http://{HOST}:{port}") as client:
        client.headers["authorization"] = f"Bearer {token}"
        created = client.post("/api/leads", json={"name": "Ada"})
        assert created.status_code == 201
        head = client.head("/api/leads")
        assert (head.status_code, head.content) == (200, b"")

        # Announced, and not.
        big = b'{"name": "' + b"x" * (1 << 20) + b'"}'
        headers = {"content-type": "application/json"}
        problem(client.post("/api/leads", content=big, headers=headers), 413, "body_too_large")
        chunks = (big[at : at + 4096] for at in range(0, len(big), 4096))
        problem(client.post("/api/leads", content=chunks, headers=headers), 413, "body_too_large")

        # What is no HTTP, or longer than its header says.
        assert raw(port, b"nonsense\r\n\r\n").startswith(b"HTTP/1.1 400")
        smuggled = (
            b"POST /api/auth/login HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"0\r\n\r\nGET / HTTP/1.1\r\n\r\n"
        )
        assert raw(port, smuggled).startswith(b"HTTP/1.1 400")

        assert len(client.get("/api/leads").json()["items"]) == 1
        # A write that is under way when it is asked to stop is answered.
        body = b'{"name": "the last one"}'
        with socket.create_connection((HOST, port), timeout=10) as connection:
            connection.sendall(
                f"POST /api/leads HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
                f"Content-Length: {len(body)}\r\nContent-Type: application/json\r\n"
                "Expect: 100-continue\r\n\r\n".encode()
            )
            assert connection.recv(65536).startswith(b"HTTP/1.1 100")
            running.send_signal(signal.SIGTERM)
            wait_until_refused(port)
            connection.sendall(body)
            assert connection.recv(65536).startswith(b"HTTP/1.1 201")
        _, log = running.communicate(timeout=20)
        assert running.returncode == 0
    events = [json.loads(line)["event"] for line in log.splitlines()]
    assert events[0] == "api.listening"
    assert events[-1] == "api.stopped"
    assert token not in log
    assert "eyJ" not in log


def test_a_port_in_use_is_one_line_and_status_2(settings: Settings) -> None:
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        with process(settings, taken.getsockname()[1]) as running:
            _, log = running.communicate(timeout=START_SECONDS)
            assert running.returncode == 2
    assert "BRANCHLINE_API_PORT" in log
    assert len(log.splitlines()) == 1


@pytest.mark.parametrize("url", ["postgresql://branchline_app@127.0.0.1:1/x"])
def test_a_database_that_cannot_be_reached_is_one_line_and_status_2(settings: Settings, url: str) -> None:
    with process(settings.model_copy(update={"database_url": url}), pick_free(HOST)) as running:
        _, log = running.communicate(timeout=START_SECONDS)
        assert running.returncode == 2
    assert "DATABASE_URL" in log
    assert len(log.splitlines()) == 1

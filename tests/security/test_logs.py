"""No log holds a token, a ticket, a password or somebody's data. Each stack's logs are read again at its end."""

import contextlib
import secrets
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import InvalidStatus

from tests.gateways import Socket
from tests.leaks import leaks_in, leaks_of
from tests.running_up import home_folder
from tests.servers import ROOT
from tests.stack import DEMO_PASSWORD, Stack
from tests.tenants import new_id

TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIwMSJ9.c2lnbmF0dXJl"


@pytest.mark.parametrize(
    "line",
    [
        f'{{"event": "x", "token": "{TOKEN}"}}',
        "GET /ws?ticket=Zm9vYmFyYmF6cXV4 HTTP/1.1",
        "Authorization: Bearer portal_AbCdEfGhIjKlMnOpQrStUvWxYz",
        "$argon2id$v=19$m=65536",
        "http://127.0.0.1:8000/#reset=abcdefghij",
        "-----BEGIN PRIVATE KEY-----",
        "postgresql://branchline_app:hush@127.0.0.1:5432/branchline",
        "INSERT INTO leads VALUES ('canary-1')",
    ],
)
def test_a_leak_is_found(line: str) -> None:
    assert leaks_in(line)


def test_what_a_log_says_usually_is_no_leak() -> None:
    for line in (
        '{"event": "request.failed", "url": "postgresql://app:[redacted]@db/x", "path": "/ws?ticket=[redacted]"}',
        '{"event": "api.listening", "port": 8000}',
    ):
        assert leaks_in(line) == []
    assert leaks_in("hush-hush", ["hush"]) == ["a known secret (hus…)"]


async def test_what_is_secret_in_requests_good_and_bad_is_in_no_log(stack: Stack) -> None:
    password = f"not the password {secrets.token_hex(8)}"
    canary = f"canary-{new_id()}"
    async with httpx.AsyncClient(base_url=stack.api_url, timeout=30) as api:
        credentials = {"email": "olga@other.test", "password": DEMO_PASSWORD}
        granted = (await api.post("/api/auth/login", json=credentials)).json()
        headers = {"authorization": f"Bearer {granted['access_token']}"}
        ticket = (await api.post("/api/auth/ticket", headers=headers)).json()["ticket"]
        lead = (await api.post("/api/leads", headers=headers, json={"name": canary})).json()
        await api.post("/api/leads", headers=headers, json={"id": lead["id"], "name": canary})
        await api.post("/api/leads", headers=headers, json={"name": canary, "score": canary})
        await api.post("/api/auth/login", json=credentials | {"password": password})
        await api.get(f"/api/leads?access_token={granted['access_token']}", headers=headers)
        await api.get(f"/api/leads?{canary}", headers=headers)
        await api.get("/api/leads", headers={"authorization": f"Bearer {TOKEN}"})
        await api.post("/api/auth/refresh", json={"refresh_token": granted["refresh_token"]})
        await api.post("/api/auth/refresh", json={"refresh_token": granted["refresh_token"]})
    for query in (f"ticket={ticket}", f"ticket={ticket}", f"token={TOKEN}"):
        with contextlib.suppress(InvalidStatus):
            async with Socket.open(f"{stack.gateway_url}?{query}") as socket:
                await socket.send(type="authenticate", client_id=new_id())
                await socket.next()
    async with Socket.open(stack.gateway_url) as socket:
        await socket.send(type="authenticate", client_id=new_id(), token=TOKEN)
        assert await socket.wait_closed() == 4503
    known = [password, canary, ticket, granted["access_token"], granted["refresh_token"]]
    for path in sorted((stack.up.home / "logs").glob("*.log")):
        text = path.read_text()
        assert text or path.name in ("valkey.log",)
        assert leaks_in(text, known) == [], path.name


def test_a_test_fails_whose_output_holds_a_token(tmp_path: Path) -> None:
    (tmp_path / "test_planted.py").write_text(
        f"def test_quiet(): print('all is well')\ndef test_planted(): print('Bearer {TOKEN}')\n"
    )
    command = [sys.executable, "-m", "pytest", "-p", "tests.leaks", "-p", "no:cacheprovider", "-q"]
    command += ["-p", "no:locust", "-p", "no:valkey", "--rootdir", str(tmp_path), "-c", "/dev/null"]
    run = subprocess.run([*command, str(tmp_path)], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert run.returncode == 1, run.stdout
    assert "2 passed, 1 error" in run.stdout
    assert "holds what no log may hold: an access token, a bearer" in run.stdout


@pytest.mark.parametrize("name", ["home/logs/api.log", "up.err"])
def test_a_token_in_the_logs_of_any_up_is_found_at_its_end(name: str) -> None:
    def plant(text: str) -> None:
        with home_folder() as home:
            path = home.parent / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    plant("all is well")
    with pytest.raises(AssertionError, match="hold what no log may hold"):
        plant(TOKEN)


def test_a_token_in_the_logs_of_a_benchmarks_stack_is_found(tmp_path: Path) -> None:
    (tmp_path / "home" / "logs").mkdir(parents=True)
    (tmp_path / "home" / "logs" / "gateway-1.log").write_text(TOKEN)
    assert leaks_of(tmp_path) == {"home/logs/gateway-1.log": ["an access token"]}

"""The whole system as its users run it, for tests that only use it: `branchline up`, shared, with a way in."""

import contextlib
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from cli.placement import find_postgresql
from tests.running_up import Up, home_folder
from tests.servers import ROOT, run_psql

DEMO_PASSWORD = "demo"
RESULTS = ROOT / "test-results"
# A test sends in a second what a person does in an hour, and all of it from one address.
WITHOUT_LIMITS = {
    "BRANCHLINE_CONNECTIONS_PER_USER": "0",
    "BRANCHLINE_CONNECTIONS_PER_ORGANIZATION": "0",
    "BRANCHLINE_CONNECTIONS_PER_ADDRESS": "0",
    "BRANCHLINE_HTTP_CONNECTIONS_PER_ADDRESS": "0",
    "BRANCHLINE_HTTP_CONNECTIONS": "0",
    "BRANCHLINE_WRITES_PER_SECOND_PER_USER": "0",
    "BRANCHLINE_WRITES_PER_SECOND_PER_ADDRESS": "0",
    "BRANCHLINE_MESSAGES_PER_SECOND_PER_USER": "0",
    "BRANCHLINE_VIEWS_PER_USER": "0",
    "BRANCHLINE_SESSIONS_PER_USER": "0",
    "BRANCHLINE_LOGINS_PER_MINUTE_PER_ADDRESS": "0",
    "BRANCHLINE_LOGINS_PER_MINUTE_PER_ACCOUNT": "0",
}


@dataclass(slots=True)
class Stack:
    """A running `branchline up`. `owner_url` is psql's way in, `up` the process and what it has printed."""

    up: Up
    api_url: str
    gateway_url: str
    owner_url: str
    redis_url: str
    _tokens: dict[str, tuple[str, float]] = field(default_factory=dict)

    def token(self, email: str) -> str:
        """An access token for a person of the demo data, good for half a lifetime or more.

        A session of tests outlasts a token's lifetime, so a person signs in again when half of it has gone.
        """
        token, until = self._tokens.get(email, ("", 0.0))
        if time.monotonic() > until:
            credentials = {"email": email, "password": DEMO_PASSWORD}
            answer = httpx.post(f"{self.api_url}/api/auth/login", json=credentials, timeout=30)
            assert answer.status_code == 200, answer.text
            token, until = answer.json()["access_token"], time.monotonic() + answer.json()["expires_in"] / 2
            self._tokens[email] = token, until
        return token

    def forget(self, email: str) -> None:
        """Have the next token of a person be of a new sign-in: a test has ended the sessions that they had."""
        self._tokens.pop(email, None)

    def http(self, email: str | None = None) -> httpx.Client:
        """An HTTP client of the API, signed in as `email`. The caller closes it."""
        headers = {} if email is None else {"Authorization": f"Bearer {self.token(email)}"}
        return httpx.Client(base_url=self.api_url, headers=headers, timeout=30)

    def psql(self, sql: str) -> str:
        """What psql prints for `sql`, as the owner of the tables."""
        return run_psql(find_postgresql() / "psql", self.owner_url, "--command", sql)

    def log(self, name: str) -> str:
        """What a process has logged: `api`, `gateway-1`, `relay`, `postgresql`, `valkey`."""
        return (self.up.home / "logs" / f"{name}.log").read_text()


@contextlib.contextmanager
def run_stack(
    name: str = "stack",
    *,
    gateways: int = 2,
    demo: bool = True,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Stack]:
    """Start `branchline up` on free ports, wait until it is ready, and see that it stops cleanly at the end.

    Limits are lifted; `environment` adds settings. The logs are kept in test-results/<name>/. Raises AssertionError
    with what it printed if it does not become ready, or does not stop with status 0.
    """
    variables = WITHOUT_LIMITS | dict(environment or {})
    options = () if demo else ("--no-demo",)
    with home_folder() as home:
        up = Up(home, options=options, variables=variables, gateways=gateways)
        try:
            with up:
                ready = up.wait_ready()
                yield Stack(up, ready["api"], ready["gateway"], ready["database"], ready["redis"])
            # A test may have ended it by a signal, to see what happens.
            assert up.process.returncode <= 0, up.err()
        finally:
            _keep_logs(RESULTS / name, home)


def _keep_logs(target: Path, home: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for path in [*home.parent.glob("up.*"), *home.joinpath("logs").glob("*.log")]:
        shutil.copy(path, target)

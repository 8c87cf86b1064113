"""The whole system as its users run it: `branchline up` as a process, with its own PostgreSQL and Valkey."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from cli.home import Home
from cli.placement import data_folders, find_postgresql
from cli.ports import pick_free
from tests.servers import HOST, ROOT, run_psql

READY_SECONDS = 120.0
STOP_SECONDS = 60.0
DEMO_PASSWORD = "demo"
RESULTS = ROOT / "test-results"
# A test sends in a second what a person does in an hour, and all of it from one address.
WITHOUT_LIMITS = {
    "BRANCHLINE_CONNECTIONS_PER_USER": "0",
    "BRANCHLINE_CONNECTIONS_PER_ORGANIZATION": "0",
    "BRANCHLINE_CONNECTIONS_PER_ADDRESS": "0",
    "BRANCHLINE_WRITES_PER_SECOND_PER_USER": "0",
    "BRANCHLINE_WRITES_PER_SECOND_PER_ADDRESS": "0",
    "BRANCHLINE_MESSAGES_PER_SECOND_PER_USER": "0",
    "BRANCHLINE_LOGINS_PER_MINUTE_PER_ADDRESS": "0",
}


@dataclass(slots=True)
class Stack:
    """A running `branchline up`. `owner_url` is psql's way in, `gateway_ports` those that answer /readyz."""

    process: subprocess.Popen[str]
    home: Path
    api_url: str
    gateway_url: str
    owner_url: str
    redis_url: str
    gateway_ports: list[int]
    _tokens: dict[str, str] = field(default_factory=dict)

    def token(self, email: str) -> str:
        """An access token for a person of the demo data; one sign-in a person."""
        if email not in self._tokens:
            answer = httpx.post(
                f"{self.api_url}/api/auth/login", json={"email": email, "password": DEMO_PASSWORD}, timeout=30
            )
            assert answer.status_code == 200, answer.text
            self._tokens[email] = answer.json()["access_token"]
        return self._tokens[email]

    def http(self, email: str | None = None) -> httpx.Client:
        """An HTTP client of the API, signed in as `email`. The caller closes it."""
        headers = {} if email is None else {"Authorization": f"Bearer {self.token(email)}"}
        return httpx.Client(base_url=self.api_url, headers=headers, timeout=30)

    def psql(self, sql: str) -> str:
        """What psql prints for `sql`, as the owner of the tables."""
        return run_psql(find_postgresql() / "psql", self.owner_url, "--command", sql)

    def log(self, name: str) -> str:
        """What a process has logged: `api`, `gateway-1`, `relay`, `postgresql`, `valkey`."""
        return (self.home / "logs" / f"{name}.log").read_text()


@contextlib.contextmanager
def run_stack(
    name: str = "stack", *, gateways: int = 2, demo: bool = True, environment: Mapping[str, str] | None = None
) -> Iterator[Stack]:
    """Start `branchline up` on free ports and wait for its line `ready …`; stop it with SIGTERM at the end.

    Limits are lifted; `environment` adds settings. The logs are kept in test-results/<name>/. Raises AssertionError
    with what it printed if it does not become ready, or does not stop cleanly.
    """
    # Not pytest's temporary folder: PostgreSQL's user could not pass through that one when root runs the tests.
    folder = Path(tempfile.mkdtemp(prefix="branchline-test-stack-"))
    folder.chmod(0o711)
    home = Home(folder / "home")
    api_port, gateway_port = _free_ports(gateways)
    options = [f"--api-port={api_port}", f"--gateway-port={gateway_port}", f"--gateways={gateways}"]
    with (folder / "up.log").open("w+") as errors:
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "cli.main",
                "up",
                f"--home={home.path}",
                *options,
                *([] if demo else ["--no-demo"]),
            ],
            cwd=folder,
            env=_environment(environment or {}),
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            # A group of its own, so that Ctrl-C in the terminal leaves it to its fixture.
            process_group=0,
        )
        try:
            ready = _wait_ready(process, errors.name)
            yield Stack(
                process=process,
                home=home.path,
                api_url=ready["api"],
                gateway_url=ready["gateway"],
                owner_url=ready["database"],
                redis_url=ready["redis"],
                gateway_ports=[gateway_port + index for index in range(1, gateways + 1)],
            )
            # A test may have ended it already, to see what happens.
            if process.poll() is None:
                assert _stop(process) == 0, Path(errors.name).read_text()
        finally:
            if process.poll() is None:
                _stop(process)
            _keep_logs(RESULTS / name, Path(errors.name), home.logs)
            for data in data_folders(home):
                shutil.rmtree(data.parent, ignore_errors=True)
            shutil.rmtree(folder, ignore_errors=True)


def _environment(added: Mapping[str, str]) -> dict[str, str]:
    """This environment without settings of whoever runs the tests, and with the copy under test in front."""
    ours = ("BRANCHLINE_", "DATABASE_URL", "REDIS_URL")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return inherited | WITHOUT_LIMITS | {"PYTHONPATH": str(ROOT)} | dict(added)


def _free_ports(gateways: int) -> tuple[int, int]:
    """A free port for the API, and the first of the gateways' run of ports, all of them free."""
    api_port = pick_free(HOST)
    while True:
        first = pick_free(HOST, taken=[api_port])
        rest = range(first + 1, first + gateways + 1)
        if all(port != api_port and pick_free(HOST, preferred=port) == port for port in rest):
            return api_port, first


def _wait_ready(process: subprocess.Popen[str], errors: str) -> dict[str, str]:
    """The names and values of the line `ready …`."""
    assert process.stdout is not None
    # Ends the wait for a line that does not come.
    watchdog = threading.Timer(READY_SECONDS, process.kill)
    watchdog.start()
    try:
        for line in process.stdout:
            if line.startswith("ready "):
                return dict(part.split("=", 1) for part in line.split()[1:])
    finally:
        watchdog.cancel()
    raise AssertionError(f"`branchline up` ended with status {process.wait()}:\n{Path(errors).read_text()}")


def _stop(process: subprocess.Popen[str]) -> int:
    process.send_signal(signal.SIGTERM)
    try:
        return process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()
    finally:
        if process.stdout is not None:
            process.stdout.close()


def _keep_logs(target: Path, up_log: Path, logs: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for path in [up_log, *logs.glob("*.log")]:
        shutil.copy(path, target)

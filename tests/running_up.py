"""`branchline up` as a process of its own, for tests that start it, break it and look at what is left."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cli.home import Home
from cli.placement import data_folders
from cli.ports import is_free, pick_free
from cli.processes import ProcessIdentity, die_with_parent
from tests.leaks import leaks_of

ROOT = Path(__file__).resolve().parent.parent
HOST = "127.0.0.1"
READY_SECONDS = 90.0
STOP_SECONDS = 60.0
POLL_SECONDS = 0.02


def wait_until(condition: Callable[[], object], what: str, seconds: float = 30.0) -> None:
    """Wait for a condition; fail with what was waited for."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(POLL_SECONDS)


def environment(**variables: str) -> dict[str, str]:
    """This process's environment without Branchline's settings, and with `variables`."""
    ours = ("BRANCHLINE_", "DATABASE_URL", "REDIS_URL")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return {**kept, "PYTHONPATH": str(ROOT), **variables}


def branchline(
    *arguments: str, home: Path, seconds: float = 60.0, **variables: str
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, with the servers of the `up` in `home`."""
    return subprocess.run(
        [sys.executable, "-m", "cli.main", *arguments],
        cwd=home.parent,
        env=environment(BRANCHLINE_HOME=str(home), **variables),
        capture_output=True,
        text=True,
        timeout=seconds,
    )


@contextlib.contextmanager
def home_folder(*, open_parent: bool = True) -> Iterator[Path]:
    """A path for a home, removed at the end, also what had to go elsewhere. The logs in it may hold no secret.

    pytest's own temporary folders are closed to the user that serves the database when root runs the tests; with
    `open_parent` false this one is too.
    """
    parent = Path(tempfile.mkdtemp(prefix="branchline-test-home-"))
    parent.chmod(0o755 if open_parent else 0o700)
    home = parent / "home"
    try:
        yield home
    finally:
        leaks = leaks_of(parent)
        for folder in data_folders(Home(home)):
            if folder.parent != home:
                shutil.rmtree(folder.parent, ignore_errors=True)
        shutil.rmtree(parent, ignore_errors=True)
    assert not leaks, f"the logs of `branchline up` hold what no log may hold: {leaks}"


@dataclass
class Up:
    """One `branchline up` on free ports. As a context manager it is stopped, or killed, at the end."""

    home: Path
    options: tuple[str, ...] = ("--no-demo",)
    variables: dict[str, str] = field(default_factory=dict)
    gateways: int = 1
    api_port: int = 0
    gateway_port: int = 0
    # From the start of the process to the line `ready …`.
    ready_seconds: float = 0.0
    _began: float = 0.0
    _process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        self.api_port = self.api_port or pick_free(HOST)
        while not self.gateway_port:
            first = pick_free(HOST, taken=[self.api_port])
            if all(is_free(HOST, port) and port != self.api_port for port in self._gateway_ports(first)):
                self.gateway_port = first

    def __enter__(self) -> "Up":
        self.start()
        try:
            self.wait_ready()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.kill()
                raise

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The process of `up` itself."""
        assert self._process is not None, "not started"
        return self._process

    @property
    def api(self) -> str:
        """The API's address."""
        return f"http://{HOST}:{self.api_port}"

    def command(self) -> list[str]:
        """The command line."""
        return [
            *(sys.executable, "-m", "cli.main", "up", "--home", str(self.home)),
            *("--api-port", str(self.api_port), "--gateway-port", str(self.gateway_port)),
            *("--gateways", str(self.gateways), *self.options),
        ]

    def start(self) -> None:
        """Start it, its output in files beside the home."""
        self._began, self.ready_seconds = time.monotonic(), 0.0
        with self._file("out").open("wb") as out, self._file("err").open("wb") as err:
            self._process = subprocess.Popen(
                self.command(),
                cwd=self.home.parent,
                env=environment(**self.variables),
                stdout=out,
                stderr=err,
                # A run of tests that is killed leaves nothing running.
                preexec_fn=die_with_parent(signal.SIGTERM),
            )

    def wait_ready(self) -> dict[str, str]:
        """Wait for the line `ready …`; its parts by name."""
        began = time.monotonic()
        while not (out := self.out()).endswith("\n"):
            assert self.process.poll() is None, f"up ended: {self.err()}"
            assert time.monotonic() - began < READY_SECONDS, f"not ready: {self.err()}"
            time.sleep(POLL_SECONDS)
        self.ready_seconds = self.ready_seconds or time.monotonic() - self._began
        word, *parts = out.split()
        assert word == "ready"
        return dict(part.split("=", 1) for part in parts)

    def out(self) -> str:
        """What it has printed to standard output."""
        return self._file("out").read_text()

    def err(self) -> str:
        """What it has said to the person at the terminal."""
        return self._file("err").read_text()

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Ask it to stop; its exit status."""
        self.process.send_signal(number)
        return self.process.wait(STOP_SECONDS)

    def kill(self) -> None:
        """End it without a word."""
        self.process.kill()
        self.process.wait()

    def processes(self) -> dict[str, ProcessIdentity]:
        """The children that it says it has."""
        return Home(self.home).processes()

    def ports(self) -> list[int]:
        """Every port that it and its children listen on."""
        relay = Home(self.home).environment().get("BRANCHLINE_RELAY_PORT")
        own = [self.api_port, self.gateway_port, *self._gateway_ports(self.gateway_port)]
        return [*own, *Home(self.home).ports().values(), *([int(relay)] if relay else [])]

    def is_ready(self) -> bool:
        """Whether API and gateways say that they are."""
        return all(_answers(f"http://{HOST}:{port}/readyz") for port in (self.api_port, *self.status_ports()))

    def status_ports(self) -> list[int]:
        """Where the gateways answer /readyz."""
        return self._gateway_ports(self.gateway_port)

    def post(self, path: str, body: dict[str, Any], token: str | None = None) -> dict[str, Any]:
        """POST JSON to the API; the answer. Raises urllib.error.URLError if there is none, or an error."""
        headers = {"Content-Type": "application/json"}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        request = urllib.request.Request(f"{self.api}{path}", json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=10) as answer:
            found: dict[str, Any] = json.load(answer)
        return found

    def _gateway_ports(self, first: int) -> list[int]:
        return list(range(first + 1, first + self.gateways + 1))

    def _file(self, name: str) -> Path:
        return self.home.parent / f"up.{name}"


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False

"""Branches at work, for locust: each user writes over HTTP and follows all leads on a WebSocket of its own.

    locust -f benchmarks/locustfile.py --host http://127.0.0.1:8000 QuietOffice          # with the web page
    locust -f benchmarks/locustfile.py --host http://127.0.0.1:8000 --headless -u 100 -r 20 -t 1m MondayMorning

The scenarios are the classes at the end; without a name all of them are mixed, `--class-picker` asks on the page. The
system is one that `branchline up` has started here, with BRANCHLINE_CONNECTIONS_PER_USER, …_PER_ORGANIZATION,
…_PER_ADDRESS, BRANCHLINE_WRITES_PER_SECOND_PER_USER and …_PER_ADDRESS set to 0: all load comes from one address.

Writes are due at their time, whether or not the last one has returned, and a delivery's latency runs from there to its
arrival at each user: the entry `WS delivery`. Locust rounds what takes over 100 ms; the page `/deliveries` and the line
at the end are in steps of 0.1 ms. A gap, a change that comes twice or out of order, a socket that breaks by itself, or
a user that does not come up to the head at the end, is a failure, and so is a run without a delivery.
"""

import json
import os
import random
import subprocess
import sys
import time
import uuid
from itertools import count
from pathlib import Path
from typing import Any

import gevent  # type: ignore[import-untyped]  # the library has no types
from gevent.event import Event  # type: ignore[import-untyped]
from locust import HttpUser, constant, events, task
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from benchmarks.harness.deltas import mark_due, read_delta  # noqa: E402 - locust loads this file by its path
from benchmarks.harness.latencies import Latencies  # noqa: E402 - the same

DRAIN_SECONDS = 10.0
SUBPROTOCOL = Subprotocol("branchline.v1")
_numbers = count()
_deliveries = Latencies()
_enrolled: dict[str, Any] = {}


def _add_arguments(parser: LocustArgumentParser) -> None:
    parser.add_argument("--seed", type=int, default=1, help="Of the data and of what everybody does.")
    parser.add_argument("--people", type=int, default=50, help="People that the users are, in turn.")
    parser.add_argument("--leads", type=int, default=1_000, help="Leads that there are at first.")


def _enrol(environment: Environment, **_: Any) -> None:
    options = environment.parsed_options
    assert options is not None
    command = [sys.executable, "-m", "benchmarks.harness.enrol", f"--seed={options.seed}"]
    command += [f"--people={options.people}", f"--leads={options.leads}"]
    finished = subprocess.run(
        command,
        cwd=Path.cwd(),
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    if finished.returncode != 0:
        raise SystemExit(f"the people of the load test could not be made: {finished.stderr[-1000:]}")
    _enrolled.update(json.loads(finished.stdout))
    global _deliveries  # a new test counts anew
    _deliveries = Latencies()


def _add_page(environment: Environment, **_: Any) -> None:
    if environment.web_ui is not None and environment.web_ui.app is not None:
        environment.web_ui.app.add_url_rule("/deliveries", view_func=_show_deliveries)


def _show_deliveries() -> dict[str, Any]:
    return _deliveries.counted().histogram().summary()


def _say(environment: Environment, **_: Any) -> None:
    histogram = _deliveries.counted().histogram()
    print(f"deliveries, from due time to arrival: {histogram}")
    if not histogram.count:
        print("nothing was delivered: let it run longer, or with more users")
        environment.process_exit_code = 1


for _event, _listener in (
    (events.init_command_line_parser, _add_arguments),
    (events.test_start, _enrol),
    (events.init, _add_page),
    (events.quitting, _say),
):
    _event.add_listener(_listener)  # type: ignore[no-untyped-call]  # locust's is not typed


class BranchUser(HttpUser):
    """Somebody at a branch. `mean_seconds` lies between two of their writes, on average."""

    abstract = True
    wait_time = constant(0)
    mean_seconds = 10.0
    starts_with_snapshot = False

    def on_start(self) -> None:
        """Sign in and follow all leads."""
        self.number = next(_numbers)
        seed = self.environment.parsed_options.seed if self.environment.parsed_options else 1
        self.chance = random.Random(f"{seed} {self.number}")
        self.token = _enrolled["tokens"][self.number % len(_enrolled["tokens"])]
        self.client.headers["Authorization"] = f"Bearer {self.token}"
        self.client_id = str(uuid.uuid4())
        self.due_ns = time.monotonic_ns()
        self.place: dict[str, Any] | None = None
        self.seen = 0
        self.leaving = Event()
        self.expects_loss = False
        self.socket: ClientConnection | None = None
        gevent.spawn(self.follow)

    def on_stop(self) -> None:
        """Come up to the head, or say that something was lost."""
        head = self.client.get("/api/changes?topic=leads", name="GET /api/changes (head)").json()["head"]
        deadline = time.monotonic() + DRAIN_SECONDS
        while self.place is not None and self.place["offset"] < head and time.monotonic() < deadline:
            gevent.sleep(0.05)
        position = self.place["offset"] if self.place else 0
        if position < head:
            self.say("complete", 0, ValueError(f"at {position} of {head} after {DRAIN_SECONDS:g} s"))
        self.leaving.set()
        if self.socket is not None:
            self.socket.close()

    @task
    def write(self) -> None:
        """The next write, when it is due."""
        self.due_ns += int(self.chance.expovariate(1 / self.mean_seconds) * 1e9)
        gevent.sleep(max(0.0, (self.due_ns - time.monotonic_ns()) / 1e9))
        self.change_something()

    def change_something(self) -> None:
        """Nine times of ten an edit of a lead that others edit too, else a new lead."""
        notes = mark_due(self.due_ns)
        if self.chance.random() < 0.9:
            leads = _enrolled["leads"]
            lead = leads[min(int(len(leads) * self.chance.random() ** 2.6), len(leads) - 1)]
            self.client.patch(f"/api/leads/{lead}", json={"notes": notes}, name="PATCH /api/leads/<id>")
        else:
            lead = {"name": f"Lead of {self.number}", "branch_id": _enrolled["branch_id"], "notes": notes}
            self.client.post("/api/leads", json=lead)

    def follow(self) -> None:
        """Hold a socket; when it ends open another one, and go on from there."""
        while not self.leaving.is_set():
            begun = time.monotonic_ns()
            try:
                with connect(
                    _enrolled["gateway_url"], subprotocols=[SUBPROTOCOL], compression=None, max_size=None
                ) as socket:
                    self.socket = socket
                    self.send(socket, type="authenticate", token=self.token, client_id=self.client_id)
                    self.read(socket, self.place or (None if self.starts_with_snapshot else "now"), begun)
            except (OSError, ConnectionClosed) as error:
                if not (self.leaving.is_set() or self.expects_loss):
                    name = "connect" if self.socket is None else "lost"
                    self.say(name, (time.monotonic_ns() - begun) / 1e6, error)
            self.socket, self.expects_loss = None, False
            self.leaving.wait(self.chance.uniform(0, 2))

    def send(self, socket: ClientConnection, **message: Any) -> None:
        """Send a message."""
        socket.send(json.dumps(message))

    def read(self, socket: ClientConnection, since: Any, begun: int) -> None:
        """Subscribe, and take what comes until the socket ends."""
        for data in socket:
            message = json.loads(data)
            match message["type"]:
                case "ready":
                    asked = {} if since is None else {"since": since}
                    self.send(socket, type="subscribe", id=1, topic="leads", **asked)
                case "subscribed":
                    self.subscribed(message, since)
                    self.say("connect", (time.monotonic_ns() - begun) / 1e6)
                case "delta":
                    self.take(message, len(data))
                case "head" if self.place is not None:
                    self.place["offset"] = max(self.place["offset"], message["offset"])
                case "rejected":
                    self.say("rejected", 0, ValueError(message["code"]))

    def subscribed(self, message: dict[str, Any], since: Any) -> None:
        """Note where this user is."""
        offset = (
            since["offset"] if message["mode"] == "replay" and isinstance(since, dict) else message["offset"]
        )
        self.place = {"epoch": message["epoch"], "offset": offset, "view": message["view"]}
        self.seen = offset

    def take(self, message: dict[str, Any], size: int) -> None:
        """Check a delta against the position and what has come before (I5), and count its deliveries."""
        now_ns, delta = time.monotonic_ns(), read_delta(message)
        assert self.place is not None
        position = self.place["offset"]
        if delta.from_offset > position:
            self.say("gap", 0, ValueError(f"a delta from {delta.from_offset} at position {position}"))
        if delta.problem is not None:
            self.say("disorder", 0, ValueError(delta.problem))
        if delta.offsets:
            if delta.offsets[0] <= self.seen:
                self.say("double", 0, ValueError(f"offset {delta.offsets[0]} after {self.seen}"))
            self.seen = max(self.seen, delta.offsets[-1])
        for offset, due_ns in zip(delta.offsets, delta.due_ns, strict=True):
            if offset > position and due_ns:
                self.say("delivery", (now_ns - due_ns) / 1e6, size=size)
                _deliveries.record(due_ns, now_ns)
        if not delta.more:
            self.place["offset"] = max(position, delta.to_offset)

    def say(self, name: str, milliseconds: float, error: Exception | None = None, *, size: int = 0) -> None:
        """An entry in locust's statistics."""
        self.environment.events.request.fire(
            request_type="WS",
            name=name,
            response_time=milliseconds,
            response_length=size,
            exception=error,
            context={},
        )


class QuietOffice(BranchUser):
    """A quiet afternoon: everybody is there, now and then somebody writes."""

    mean_seconds = 30.0


class MondayMorning(BranchUser):
    """Everybody signs in at once, loads everything, and works on what lay there over the weekend."""

    mean_seconds = 3.0
    starts_with_snapshot = True


class BulkImport(BranchUser):
    """A few import spreadsheets, a hundred leads a push; take it beside QuietOffice."""

    mean_seconds = 2.0

    def change_something(self) -> None:
        """Push a hundred new leads."""
        mutations = []
        for number in range(100):
            fields = {"name": f"Imported {number}", "branch_id": _enrolled["branch_id"], "source": "import"}
            fields["notes"] = mark_due(self.due_ns)
            mutations.append(
                {
                    "mutation_id": str(uuid.uuid4()), "collection": "leads", "id": str(uuid.uuid4()),
                    "operation": "insert", "fields": fields,
                }
            )  # fmt: skip
        body = {"client_id": self.client_id, "now_ms": time.time_ns() // 1_000_000, "mutations": mutations}
        with self.client.post(
            "/api/sync", json=body, name="POST /api/sync (100)", catch_response=True
        ) as answer:
            applied = sum(each["status"] == "applied" for each in answer.json().get("results", ()))
            if applied != len(mutations):
                answer.failure(f"{applied} of {len(mutations)} were applied")


class FlakyLine(BranchUser):
    """On a mobile line: the socket breaks every few seconds, and goes on from where it was."""

    mean_seconds = 8.0

    def on_start(self) -> None:
        """Begin to lose the line as well."""
        super().on_start()
        gevent.spawn(self.lose_the_line)

    def lose_the_line(self) -> None:
        """Again and again, without a word to the server."""
        while not self.leaving.is_set():
            gevent.sleep(self.chance.uniform(5, 20))
            if self.socket is not None and not self.leaving.is_set():
                self.expects_loss = True
                self.socket.socket.close()

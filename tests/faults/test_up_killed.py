"""Kill -9 of any process that `branchline up` runs, and of itself: what was acknowledged is there afterwards."""

import contextlib
import http.client
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from cli import embedded_postgres
from cli.home import Home
from cli.placement import choose_user, find_postgresql, place
from cli.ports import is_free
from cli.processes import ProcessIdentity, identify
from tests.running_up import HOST, Up, branchline, environment, home_folder, wait_until
from tests.servers import run_psql

PSQL = find_postgresql() / "psql"
BACK_SECONDS = 30.0


class Writer:
    """Somebody who adds leads one after the other and notes which were acknowledged."""

    def __init__(self, up: Up, token: str) -> None:
        self.acknowledged: list[str] = []
        self.refused = 0
        self._up = up
        self._token = token
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._write)

    def __enter__(self) -> "Writer":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    def _write(self) -> None:
        while not self._stopping.is_set():
            try:
                lead = self._up.post("/api/leads", {"name": "Storm"}, self._token)
                self.acknowledged.append(lead["id"])
            except (OSError, http.client.HTTPException):  # refused, or cut off amid its answer
                self.refused += 1
                self._stopping.wait(0.05)


@pytest.fixture(scope="module")
def up() -> Iterator[Up]:
    with home_folder() as folder, Up(folder, options=()) as running:
        yield running


@dataclass
class Client:
    """Somebody who watches all the time, as a browser does, and comes back when the connection is lost."""

    shown: Path

    def wait_for(self, leads: list[str]) -> None:
        """Every one of these has been shown, and nothing twice or out of order."""
        wait_until(lambda: not self.missing(leads), f"the client was shown {len(leads)} leads", BACK_SECONDS)
        offsets = [int(line.split()[1][1:]) for line in self.shown.read_text().splitlines()]
        assert offsets == sorted(set(offsets))

    def missing(self, leads: list[str]) -> set[str]:
        """What has not been shown; a line has the end of the id."""
        shown = {line.split()[4][1:] for line in self.shown.read_text().splitlines()}
        return {lead for lead in leads if lead[-8:] not in shown}


@pytest.fixture(scope="module")
def client(up: Up) -> Iterator[Client]:
    shown = up.home.parent / "tail.out"
    with shown.open("wb") as out:
        follower = subprocess.Popen(
            [sys.executable, "-m", "cli.main", "tail", "leads"],
            cwd=up.home.parent,
            env=environment(BRANCHLINE_HOME=str(up.home)),
            stdout=out,
            stderr=subprocess.PIPE,
        )
    assert follower.stderr is not None
    patience = threading.Timer(60, follower.kill)  # else a line that does not come is waited for without end
    patience.start()
    assert b"following leads" in follower.stderr.readline()
    patience.cancel()
    # What it says of lost connections is nobody's business here, and must not fill the pipe.
    reader = threading.Thread(target=follower.stderr.read)
    reader.start()
    yield Client(shown)
    follower.terminate()
    follower.wait(10)
    reader.join()
    follower.stderr.close()


@pytest.fixture(scope="module")
def token(up: Up) -> str:
    return branchline("token", "ana@demo.test", home=up.home).stdout.strip()


def missing_leads(url: str, acknowledged: list[str]) -> str:
    """Which of the acknowledged leads the database does not have, and whether the log has gaps (I1)."""
    ids = ", ".join(f"('{lead}'::uuid)" for lead in acknowledged)
    lost = run_psql(
        PSQL, url, "-c", f"select a.id from (values {ids}) a (id) where a.id not in (select id from leads)"
    )
    gaps = run_psql(
        PSQL,
        url,
        "-c",
        "select organization_id from (select organization_id, first_offset,"
        " lag(first_offset + size, 1, 1::bigint) over (partition by organization_id order by first_offset) as expected"
        " from commits) c"
        " where first_offset <> expected",
    )
    return lost + gaps


@pytest.mark.parametrize("name", ["relay", "api", "gateway", "valkey", "postgresql"])
def test_a_process_that_is_killed_during_writes_comes_back_and_nothing_acknowledged_is_lost(
    up: Up, token: str, client: Client, name: str
) -> None:
    victim = up.processes()[name]
    with Writer(up, token) as writer:
        wait_until(lambda: len(writer.acknowledged) >= 20, "writes before the kill")
        os.kill(victim.pid, signal.SIGKILL)
        wait_until(lambda: up.processes().get(name) not in (None, victim), f"another {name}", BACK_SECONDS)
        wait_until(up.is_ready, f"ready after the loss of {name}", BACK_SECONDS)
        before = len(writer.acknowledged)
        wait_until(lambda: len(writer.acknowledged) >= before + 20, "writes after the kill", BACK_SECONDS)
    assert missing_leads(up.wait_ready()["database"], writer.acknowledged) == ""
    client.wait_for(writer.acknowledged)
    assert f"{name} was ended by SIGKILL; starting it again" in up.err()


def test_what_a_killed_up_leaves_ends_with_it_and_its_next_start_has_everything(
    up: Up, token: str, client: Client
) -> None:
    children, ports = up.processes(), up.ports()
    with Writer(up, token) as writer:
        wait_until(lambda: len(writer.acknowledged) >= 20, "writes before the kill")
        up.kill()
        wait_until(lambda: not any(child.alive for child in children.values()), "its children were gone", 15)
    assert all(is_free(HOST, port) for port in ports)
    up.start()
    parts = up.wait_ready()
    assert missing_leads(parts["database"], writer.acknowledged) == ""
    with Writer(up, token) as again:
        wait_until(lambda: again.acknowledged, "a write after the start")
    client.wait_for(writer.acknowledged + again.acknowledged)


def test_servers_that_crash_with_up_are_recovered_from(up: Up, token: str, client: Client) -> None:
    """As when the machine's power goes: no process has had the time to end in order."""
    children = up.processes()
    with Writer(up, token) as writer:
        wait_until(lambda: len(writer.acknowledged) >= 20, "writes before the crash")
        up.process.send_signal(signal.SIGSTOP)
        for child in children.values():
            os.kill(child.pid, signal.SIGKILL)
        up.kill()
    up.start()
    parts = up.wait_ready()
    assert missing_leads(parts["database"], writer.acknowledged) == ""
    client.wait_for(writer.acknowledged)


@contextlib.contextmanager
def orphan(arguments: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """A process of the servers' user that no `up` has for a child."""
    user = choose_user()
    process = subprocess.Popen(
        arguments,
        cwd="/",
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        user=None if user is None else user.uid,
        group=None if user is None else user.gid,
        extra_groups=None if user is None else [],
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def reap_in_background(process: subprocess.Popen[bytes]) -> None:
    # In place of the init process, which is the parent of a real orphan.
    threading.Thread(target=process.wait, daemon=True).start()


def test_a_stale_home_is_cleared_and_strangers_are_left_alone() -> None:
    with home_folder() as folder:
        with Up(folder) as up:
            assert up.stop() == 0
        home = Home(folder)
        placement = place(home, choose_user())
        with orphan(["sleep", "600"]) as stranger, orphan(["sleep", "600"]) as left:
            # The number in postmaster.pid is a stranger's of the same user now; PostgreSQL would not start.
            lock = f"{stranger.pid}\n{placement.data}\n1\n1\n\n{HOST}\n"
            placement.data.joinpath("postmaster.pid").write_text(lock)
            # A role that outlived its `up`, and one whose number is a stranger's.
            reap_in_background(left)
            identity = identify(left.pid)
            assert identity is not None
            home.keep_processes({"gateway": identity, "api": ProcessIdentity(stranger.pid, "long ago")})
            with Up(folder) as up:
                assert not identity.alive
                assert stranger.poll() is None
                assert "ending what an earlier run has left: gateway." in up.err()


def test_a_postgresql_that_still_serves_the_data_is_ended_first() -> None:
    with home_folder() as folder:
        with Up(folder) as up:
            port = Home(folder).ports()["postgresql"]
            assert up.stop() == 0
        placement = place(Home(folder), choose_user())
        with orphan(embedded_postgres.arguments(placement, port)) as server:
            reap_in_background(server)
            identity = identify(server.pid)
            assert identity is not None
            wait_until(lambda: not is_free(HOST, port), "the orphan served")
            with Up(folder) as up:
                assert not identity.alive
                assert (
                    f"ended the PostgreSQL (process {server.pid}) that an earlier run had left." in up.err()
                )

"""The other systems carry the work for real; what cannot be had is reported as absent."""

import json
from pathlib import Path

import pytest

from benchmarks.harness import report
from benchmarks.harness.live import Work, run_subject
from benchmarks.harness.stack import Stack
from benchmarks.peers import installed
from benchmarks.peers.catalogue import ALL, Entry
from benchmarks.peers.installed import HERE, AbsentError
from benchmarks.peers.processes import PeerError, run_program
from benchmarks.versus import run

SHORT = Work(20, 40, 1.0, warm_up_seconds=0.2)


@pytest.mark.parametrize("key", ["raw", "broadcast", "fastapi"])
async def test_a_peer_carries_the_work_and_every_delivery_is_checked(key: str) -> None:
    with ALL[key].run() as peer:
        outcome = await run_subject(peer, SHORT)
    assert outcome.invalid == []
    assert outcome.delivery.count == 20 * 40
    assert list(outcome.usage.by_process) == ["gateway", "load: subscribers", "load: writers"]


@pytest.mark.long
@pytest.mark.parametrize("key", ["ws", "nchan", "socketio", "parse"])
async def test_a_peer_that_has_to_be_installed_carries_it_too(key: str) -> None:
    with ALL[key].run() as peer:
        outcome = await run_subject(peer, SHORT)
    assert outcome.invalid == []
    assert outcome.delivery.count == 20 * 40


def test_a_peer_that_cannot_be_had_is_named_with_the_reason(
    bench_stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing() -> None:
        raise AbsentError("npm is not on the PATH")

    monkeypatch.setattr(report, "_folder", tmp_path)
    absent = Entry("socketio", "Socket.IO", "tested", stores=True, run=missing)  # type: ignore[arg-type]  # it raises
    assert run(bench_stack, [absent], seconds=0.5) == 0
    assert "ABSENT: Socket.IO: npm is not on the PATH" in capsys.readouterr().out
    (kept,) = tmp_path.glob("*-peers.json")
    content = json.loads(kept.read_text())
    assert content["absent"] == {"Socket.IO": "npm is not on the PATH"}
    verdicts = [each for each in content["verdicts"] if "Socket.IO" in each["target"]]
    assert [verdict["met"] for verdict in verdicts] == [None, None]


def test_without_npm_or_apt_the_reason_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(installed, "HERE", tmp_path)
    tmp_path.joinpath("node").mkdir()
    tmp_path.joinpath("node", "package-lock.json").write_text("{}")
    with pytest.raises(AbsentError, match="npm"):
        installed.node_packages("node")


def test_a_program_that_ends_says_what_it_said() -> None:
    with pytest.raises(PeerError, match="no such thing"):
        with run_program(["/bin/sh", "-c", "echo no such thing >&2; exit 1"], ports=[]):
            pass


@pytest.mark.parametrize("name", ["node", "parse"])
def test_the_locks_name_no_registry_and_check_every_package(name: str) -> None:
    packages = json.loads((HERE / name / "package-lock.json").read_text())["packages"]
    fetched = {path: package for path, package in packages.items() if path}
    assert len(fetched) > 10
    assert not [path for path, package in fetched.items() if "resolved" in package]
    assert not [
        path for path, package in fetched.items() if "integrity" not in package and not package.get("link")
    ]

"""What `make setup` decides; that it works is shown by running it on a bare machine."""

from pathlib import Path

import pytest

from tools import outside_programs, system_packages
from tools.bootstrap import translate_pip_settings


def test_uv_gets_packages_from_where_pip_does(tmp_path: Path) -> None:
    listing = f"""global.index-url='https://mirror.example/simple'
global.extra-index-url='https://second.example/simple\\nfile:///nowhere/simple'
global.timeout='20'
:env:.index-url='https://nearer.example/simple'
:env:.find-links='/nowhere/wheels {tmp_path}'"""
    assert translate_pip_settings(listing) == {
        "UV_DEFAULT_INDEX": "https://nearer.example/simple",
        "UV_INDEX": "https://second.example/simple",
        "UV_FIND_LINKS": str(tmp_path),
        "UV_INDEX_STRATEGY": "unsafe-best-match",
    }


def test_uv_is_told_nothing_where_pip_was_told_nothing() -> None:
    assert translate_pip_settings("global.timeout='20'\n") == {}


def test_somebody_who_is_not_root_is_told_the_very_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(system_packages.MissingProgramError, match=r"sudo apt-get install .*chromium"):
        system_packages.install(["chromium"], purpose="the browser tests need Chromium", elsewhere="get it")


def test_a_system_without_apt_is_told_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(system_packages.MissingProgramError, match="need Chromium: get it"):
        system_packages.install(["chromium"], purpose="the browser tests need Chromium", elsewhere="get it")


def test_a_chromium_that_does_not_start_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stub = tmp_path / "chromium"
    stub.write_text("#!/bin/sh\necho 'install the snap' >&2\nexit 1\n")
    stub.chmod(0o755)
    real = tmp_path / "google-chrome"
    real.write_text("#!/bin/sh\necho 'Google Chrome 150'\n")
    real.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CHROMIUM", raising=False)
    assert outside_programs.find_chromium() == str(real)


def test_a_node_that_is_too_old_is_not_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = tmp_path / "node"
    old.write_text("#!/bin/sh\necho v18.19.0\n")
    old.chmod(0o755)
    fetched: list[Path] = []
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(outside_programs, "NODE_FROM_WHEEL", tmp_path / "wheel" / "node")
    monkeypatch.setattr("tools.bootstrap.install_locked", lambda lock, target: fetched.append(lock))
    assert outside_programs.find_node() == str(tmp_path / "wheel" / "node")
    assert fetched == [outside_programs.NODE_LOCK]


def test_npm_packages_are_installed_once_a_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    node = tmp_path / "bin" / "node"
    npm = tmp_path / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    client = tmp_path / "client"
    for folder in (node.parent, npm.parent, client / "node_modules"):
        folder.mkdir(parents=True)
    npm.touch()
    node.write_text('#!/bin/sh\necho "$*" >> runs\n')
    node.chmod(0o755)
    monkeypatch.setattr(outside_programs, "JAVASCRIPT_CLIENT", client)
    for lock in ("{}", "{}", '{"lockfileVersion": 3}'):
        (client / "package-lock.json").write_text(lock)
        outside_programs.install_npm_packages(str(node))
    runs = (client / "runs").read_text().splitlines()
    assert len(runs) == 2
    assert all(f"{npm} ci " in f"{run} " for run in runs)

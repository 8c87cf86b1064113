"""What the other systems need. What is not there, and cannot be had, makes a peer absent, with the reason."""

import contextlib
import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from tools.outside_programs import find_node
from tools.system_packages import MissingProgramError

HERE = Path(__file__).resolve().parent
INSTALL_SECONDS = 300
_NCHAN_FOLDER = Path("/var/lib/nginx/body")
_NCHAN = ("libnginx-mod-nchan", "nginx")


class AbsentError(Exception):
    """A peer cannot run here; the message says why."""


def node_packages(name: str) -> Path:
    """The folder of a peer's programs with its packages installed as its lock says."""
    folder = HERE / name
    lock = folder / "package-lock.json"
    stamp = folder / "node_modules" / ".lock"
    wanted = hashlib.sha256(lock.read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted:
        return folder
    npm = shutil.which("npm")
    if npm is None:
        raise AbsentError("npm is not on the PATH")
    _run([npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"], folder)
    stamp.write_text(wanted)
    return folder


def node() -> str:
    """A Node.js that is new enough."""
    try:
        return find_node()
    except MissingProgramError as error:
        raise AbsentError(str(error)) from None


def nchan() -> tuple[Path, Path]:
    """nginx and its Nchan module: the system's, or unpacked from Debian's packages beside this file."""
    module = Path("/usr/lib/nginx/modules/ngx_nchan_module.so")
    system = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if system and module.exists():
        return Path(system), module
    folder = HERE / "node_modules" / "nchan"
    unpacked, its_module = folder / "usr/sbin/nginx", folder / module.relative_to("/")
    if not (unpacked.exists() and its_module.exists()):
        apt, dpkg = shutil.which("apt-get"), shutil.which("dpkg-deb")
        if apt is None or dpkg is None:
            raise AbsentError("nginx with Nchan is not installed, and there is no apt to fetch it with")
        folder.mkdir(parents=True, exist_ok=True)
        _run([apt, "download", *_NCHAN], folder)
        for package in folder.glob("*.deb"):
            _run([dpkg, "-x", str(package), str(folder)], folder)
    return unpacked, its_module


@contextlib.contextmanager
def nchan_folder() -> Iterator[None]:
    """The folder for temporary files that Debian built Nchan with: it insists on it, whatever it is set to."""
    made = [path for path in (_NCHAN_FOLDER.parent, _NCHAN_FOLDER) if not path.exists()]
    try:
        _NCHAN_FOLDER.mkdir(parents=True, exist_ok=True)
    except PermissionError:
        raise AbsentError(f"Nchan needs {_NCHAN_FOLDER}: install nginx with libnginx-mod-nchan") from None
    try:
        yield
    finally:
        for path in reversed(made):
            shutil.rmtree(path, ignore_errors=True)


def _run(command: Sequence[str], folder: Path) -> None:
    name = " ".join(Path(part).name for part in command[:2])
    try:
        finished = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, check=False, timeout=INSTALL_SECONDS
        )
    except subprocess.TimeoutExpired:
        raise AbsentError(f"{name} was not done within {INSTALL_SECONDS} s") from None
    if finished.returncode != 0:
        last = (finished.stderr.strip().splitlines() or ["no message"])[-1]
        raise AbsentError(f"{name} failed: {last}")

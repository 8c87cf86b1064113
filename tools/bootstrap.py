"""Make `.venv` with the `branchline` command in it: `python3 -m tools.bootstrap`, which is `make setup`.

Needs Python and its standard library only, for it runs before anything is installed. The steps: a virtual
environment, pip in it, a uv pinned by version and hash, every package of the development lock by hash, and the
project itself, editable, without dependencies and without build isolation. A stamp in `.venv` remembers from
what it was made, so that a second run costs one comparison.
"""

import fcntl
import hashlib
import json
import os
import subprocess
import sys
import time
import venv
from pathlib import Path

from tools import system_packages

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = ROOT / ".venv"
PYTHON = ENVIRONMENT / "bin" / "python"
STAMP = ENVIRONMENT / "setup.stamp"
UV_LOCK = ROOT / "requirements" / "uv.txt"
DEVELOPMENT_LOCK = ROOT / "requirements" / "development.txt"
PACKAGES = [ROOT, ROOT / "clients" / "python"]
MINIMUM_VERSION = (3, 11)

# pip's settings that say where packages come from, and what uv calls the same. uv does not read pip's, and a
# machine that reaches its packages through a mirror has usually told pip only.
UV_NAMES = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "cert": "SSL_CERT_FILE",
    "proxy": "ALL_PROXY",
}


def main() -> int:
    """Bring `.venv` up to date; the exit status."""
    if sys.version_info < MINIMUM_VERSION:
        version = ".".join(map(str, MINIMUM_VERSION))
        print(f"Branchline needs Python {version} or later; {sys.executable} is {sys.version.split()[0]}")
        return 1
    folder = os.open(ROOT, os.O_RDONLY)  # the lock is on the folder itself, so it leaves no file behind
    fcntl.flock(folder, fcntl.LOCK_EX)
    try:
        if _stamp_is_current():
            return 0
        _make_environment()
    except system_packages.MissingProgramError as error:
        print(error, file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        print(f"`{' '.join(map(str, error.cmd))}` failed with status {error.returncode}", file=sys.stderr)
        return 1
    finally:
        os.close(folder)
    return 0


def install_locked(lock: Path, target: Path) -> None:
    """Install what `lock` pins into the folder `target`, outside the environment, each file checked by hash."""
    uv_pip("install", "--quiet", "--require-hashes", "--target", str(target), "--requirements", str(lock))


def _make_environment() -> None:
    start = time.monotonic()
    STAMP.unlink(missing_ok=True)
    if not _environment_works():
        _say("making .venv")
        # Whatever is left of a broken one (its Python removed, its folder moved) goes.
        venv.create(ENVIRONMENT, clear=True, symlinks=True, with_pip=False)
    if not _uv_is_current():
        _install_pip()
        _say("installing uv")
        _run([PYTHON, "-m", "pip", "install", "--quiet", "--require-hashes", "--requirement", UV_LOCK])
    _say("installing the locked packages")
    # Bytecode is written now, so that the first start does not pay for it, nor every start of a user who
    # cannot write here or has switched it off.
    progress = [] if sys.stderr.isatty() else ["--quiet"]
    uv_pip("sync", *progress, "--require-hashes", "--compile-bytecode", str(DEVELOPMENT_LOCK))
    _say("installing Branchline")
    editable = [option for package in PACKAGES for option in ("--editable", str(package))]
    uv_pip("install", "--quiet", "--no-deps", "--no-build-isolation", *editable)
    STAMP.write_text(_fingerprint())
    _say(f"done in {time.monotonic() - start:.1f} s")


def _fingerprint() -> str:
    """All that `.venv` is made from: the locks, the project's own descriptions, its place, and the Python."""
    inputs = [
        UV_LOCK,
        DEVELOPMENT_LOCK,
        *(package / "pyproject.toml" for package in PACKAGES),
        Path(__file__),
    ]
    digest = hashlib.sha256()
    for path in inputs:
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return json.dumps({"inputs": digest.hexdigest(), "root": str(ROOT)}) + "\n"


def _stamp_is_current() -> bool:
    try:
        return STAMP.read_text() == _fingerprint() and PYTHON.exists()
    except FileNotFoundError:
        return False


def _environment_works() -> bool:
    """Whether `.venv` has a Python that runs, is new enough, and knows itself to be in this folder."""
    try:
        prefix, major, minor = _ask(
            "import sys; print(sys.prefix, *sys.version_info[:2], sep='\\n')"
        ).splitlines()
    except (OSError, subprocess.CalledProcessError):
        return False
    command = ENVIRONMENT / "bin" / "branchline"
    moved = command.exists() and str(ENVIRONMENT) not in command.read_text()
    return prefix == str(ENVIRONMENT) and (int(major), int(minor)) >= MINIMUM_VERSION and not moved


def _uv_is_current() -> bool:
    """Whether the environment's uv is the one that the lock pins."""
    pinned = next(line.split("==")[1].split()[0] for line in UV_LOCK.read_text().splitlines() if "==" in line)
    try:
        answer = subprocess.run([ENVIRONMENT / "bin" / "uv", "--version"], capture_output=True, text=True)
    except OSError:
        return False
    return answer.stdout.split()[1:2] == [pinned]


def _install_pip() -> None:
    """Give the environment a pip, from the standard library's ensurepip."""
    if _can("import pip"):
        return
    # Debian and its kin take ensurepip out of Python and ship it as a package of its own.
    has_ensurepip = "import ensurepip; ensurepip.version()"
    if not _can(has_ensurepip):
        version = _ask("import sys; print(*sys.version_info[:2], sep='.')").strip()
        purpose = f"this Python {version} came without its `ensurepip` module, which `make setup` needs"
        elsewhere = "use a Python that has it: make setup PYTHON=/path/to/python3"
        system_packages.install([f"python{version}-venv"], purpose=purpose, elsewhere=elsewhere)
        if not _can(has_ensurepip):
            raise system_packages.MissingProgramError(f"{purpose}: {elsewhere}")
    _say("installing pip")
    _run([PYTHON, "-I", "-m", "ensurepip", "--default-pip"], stdout=subprocess.DEVNULL)


def _ask(question: str) -> str:
    """What the environment's Python prints for `question`."""
    command = [str(PYTHON), "-I", "-c", question]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def _can(statement: str) -> bool:
    return subprocess.run([PYTHON, "-I", "-c", statement], capture_output=True).returncode == 0


def uv_pip(command: str, *arguments: str) -> None:
    """Run the environment's `uv pip`, with packages from where this machine's pip gets them."""
    environment = _pip_settings_for_uv() | os.environ
    # uv stops where it has no place for its cache: a system user's home often does not exist.
    if not os.access(Path.home(), os.W_OK):
        environment.setdefault("UV_NO_CACHE", "1")
    _run(
        [ENVIRONMENT / "bin" / "uv", "pip", command, "--python", PYTHON, *arguments], environment=environment
    )


def _pip_settings_for_uv() -> dict[str, str]:
    """Where pip has been told to get packages from, in its files and in PIP_…, as variables that uv reads."""
    answer = subprocess.run([PYTHON, "-m", "pip", "config", "list"], capture_output=True, text=True)
    return translate_pip_settings(answer.stdout)


def translate_pip_settings(listing: str) -> dict[str, str]:
    """The environment for uv that says what `pip config list` has said in `listing`."""
    found = {}
    # Lines are `global.index-url='…'` or `:env:.index-url='…'`, the weakest source first.
    for line in listing.splitlines():
        name, _, quoted = line.partition("=")
        uv_name = UV_NAMES.get(name.rpartition(".")[2])
        if uv_name is not None:
            # pip only warns of a local folder that is not there; uv stops.
            values = [value for value in quoted.strip("'\"").replace("\\n", " ").split() if _may_exist(value)]
            found[uv_name] = ("," if uv_name == "UV_FIND_LINKS" else " ").join(values)
    found = {name: value for name, value in found.items() if value}
    # pip takes the best version of all its indexes; the locked hashes make that safe for uv too.
    return found | {"UV_INDEX_STRATEGY": "unsafe-best-match"} if found else {}


def _may_exist(place: str) -> bool:
    path = place.removeprefix("file://")
    return not path.startswith("/") or Path(path).exists()


def _run(
    command: list[str | Path], *, environment: dict[str, str] | None = None, stdout: int | None = None
) -> None:
    # A pip that was told to install for the user, or not to run as root, is told for other work than this.
    quiet_pip = {"PIP_USER": "0", "PIP_ROOT_USER_ACTION": "ignore", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    subprocess.run(
        command,
        check=True,
        cwd=ROOT,
        env=(environment or os.environ) | quiet_pip,
        stdout=stdout,
        stdin=subprocess.DEVNULL,
    )


def _say(step: str) -> None:
    print(f"setup: {step}", flush=True)


if __name__ == "__main__":
    sys.exit(main())

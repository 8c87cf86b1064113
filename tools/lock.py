"""Write the locks in requirements/ from pyproject.toml: `make lock`, or `make lock ARGS=--upgrade`.

Each lock is universal (one file for every system and every Python from 3.11 on), pins by version and hash, and
holds no address: where packages come from is a matter of the machine, not of the project.
"""

import sys

from tools.bootstrap import ROOT, uv_pip

# Name of the lock, and what it resolves. The order matters: development keeps to the runtime lock's versions.
LOCKS = {
    "uv": ["--group", "uv"],
    "node": ["--group", "node"],
    "runtime": ["pyproject.toml"],
    "development": ["pyproject.toml", "--group", "dev", "--constraints", "requirements/runtime.txt"],
}
OPTIONS = [
    "--universal", "--python-version", "3.11", "--generate-hashes", "--no-emit-index-url", "--no-emit-find-links",
    "--custom-compile-command", "make lock", "--quiet",
]  # fmt: skip


def main(arguments: list[str]) -> int:
    """Resolve every lock; `arguments` go to uv. Pins that still fit are kept unless they say otherwise."""
    for name, sources in LOCKS.items():
        output = ROOT / "requirements" / f"{name}.txt"
        print(f"lock: {output.relative_to(ROOT)}", flush=True)
        uv_pip("compile", *OPTIONS, *arguments, "--output-file", str(output), *sources)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

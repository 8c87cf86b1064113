"""Break each invariant on purpose and see that its test notices: `make mutants`, or `make mutants ARGS="I1 I4"`.

A mutant is a patch in tests/mutants/. Above the diff it has a line `invariant: I1`, a line `test: <pytest's name of
the test that must fail>`, and what it breaks in a sentence. All work is done on a copy of the source; the tests named
must pass there as they are, then each must fail, not merely in a fixture, with its patch applied.
"""

import re
import shutil
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tools import outside_programs
from tools.bootstrap import PYTHON, ROOT

FOLDER = ROOT / "tests" / "mutants"
DEADLINE_SECONDS = 300
NOT_SOURCE = [".*", "__pycache__", "node_modules", "test-results", "results"]
_HEADER = re.compile(r"^(invariant|test): (\S+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Mutant:
    """A patch, the invariant that it breaks, and the test that must notice."""

    patch: Path
    invariant: str
    test: str


def read_mutants(folder: Path = FOLDER) -> list[Mutant]:
    """All mutants, by name. Raises ValueError for a patch without its header."""
    found = []
    for patch in sorted(folder.glob("*.patch")):
        header = dict(_HEADER.findall(patch.read_text().partition("\n--- ")[0]))
        if header.keys() != {"invariant", "test"}:
            raise ValueError(f"{patch.name} needs a line `invariant: …` and a line `test: …` above its diff")
        found.append(Mutant(patch, header["invariant"], header["test"]))
    return found


def copy_source(target: Path) -> None:
    """Copy the work tree as it is, without what was made from it, to the folder `target`."""
    shutil.copytree(ROOT, target, ignore=shutil.ignore_patterns(*NOT_SOURCE), dirs_exist_ok=True)


def apply(patch: Path, source: Path) -> None:
    """Apply a patch to the copy. Raises ValueError if it does not fit, exactly and in one place, any more."""
    for part in re.split(r"^--- ", patch.read_text(), flags=re.MULTILINE)[1:]:
        old_name, new_name, *_ = part.splitlines()
        path = source / new_name.removeprefix("+++ b/")
        if old_name.removeprefix("a/") != new_name.removeprefix("+++ b/") or not path.is_file():
            raise ValueError(f"{patch.name} is for {old_name}, which is not there")
        text = path.read_text()
        for hunk in re.split(r"^@@ .*\n", part, flags=re.MULTILINE)[1:]:
            lines = [line or " " for line in hunk.splitlines()]
            old, new = ("".join(f"{x[1:]}\n" for x in lines if x[0] in kept) for kept in (" -", " +"))
            if text.count(old) != 1:
                raise ValueError(f"{patch.name} fits {path.name} in {text.count(old)} places:\n{old}")
            text = text.replace(old, new)
        path.write_text(text)


def main(arguments: list[str]) -> int:
    """Run the mutants, or those of the invariants named; the exit status."""
    mutants = [m for m in read_mutants() if not arguments or m.invariant in arguments]
    if not mutants:
        print("no mutants of that name" if arguments else f"no mutants in {FOLDER.relative_to(ROOT)}")
        return 1
    with tempfile.TemporaryDirectory(prefix="branchline-mutants-") as folder:
        source = Path(folder)
        copy_source(source)
        print("as it is: ", end="", flush=True)
        if (failure := _fails(source, sorted({m.test for m in mutants}))) is not None:
            print(f"a test fails without any mutant: {failure}")
            return 1
        print("all tests pass")
        survived = [m for m in mutants if not _killed(source, m)]
    print(f"{len(mutants) - len(survived)} killed, {len(survived)} survived")
    return 1 if survived else 0


def _killed(source: Path, mutant: Mutant) -> bool:
    start = time.monotonic()
    copy_source(source)
    apply(mutant.patch, source)
    failure = _fails(source, [mutant.test])
    seconds = time.monotonic() - start
    if failure is None:
        print(f"{mutant.invariant} {mutant.patch.stem}: SURVIVED {mutant.test} ({seconds:.1f} s)", flush=True)
        return False
    print(f"{mutant.invariant} {mutant.patch.stem}: killed in {seconds:.1f} s: {failure}", flush=True)
    return True


def _fails(source: Path, tests: Sequence[str]) -> str | None:
    """The first line of the first failure, or None if all passed. A test that does not end has failed.

    Raises AssertionError if a fixture failed or nothing ran: a mutant that does not even start shows nothing about
    its test.
    """
    report = source / "mutant-report.xml"
    report.unlink(missing_ok=True)
    command = [
        str(PYTHON),
        "-m",
        "pytest",
        "-q",
        "-m",
        "",
        "-p",
        "no:cacheprovider",
        f"--junit-xml={report}",
        *tests,
    ]
    outside = outside_programs.environment(browser="tests/browser/" in " ".join(tests), node=False)
    # The copy comes before the installed project, in this process and in those that the tests start.
    environment = outside | {"PYTHONPATH": str(source), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        finished = subprocess.run(
            command, cwd=source, env=environment, capture_output=True, text=True, timeout=DEADLINE_SECONDS
        )
    except subprocess.TimeoutExpired:
        return f"no end after {DEADLINE_SECONDS} s"
    cases = list(ElementTree.parse(report).iter("testcase")) if report.exists() else []
    failures = [found for case in cases if (found := case.find("failure")) is not None]
    if finished.returncode == 1 and failures:
        return (failures[0].get("message") or "").strip().partition("\n")[0][:150]
    ran = finished.returncode == 0 and cases
    assert ran, f"the tests did not run:\n{finished.stdout}{finished.stderr}"
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""The import rule holds, and each of its contracts notices when it is broken."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ["core", "api", "gateway", "cli"]


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run import-linter on the packages of `folder`."""
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    environment = os.environ | {"PYTHONPATH": str(folder), "COLUMNS": "200"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def test_every_contract_is_kept() -> None:
    finished = lint_imports(ROOT)
    assert finished.returncode == 0, finished.stdout


@pytest.mark.parametrize(
    ("module", "added", "contract"),
    [
        ("core/clock.py", "import time", "pure modules never"),
        (
            "core/protocol/topic.py",
            "from core import database",
            "core.protocol, core.clock and core.principal",
        ),
        ("core/log.py", "from api import problems", "cli may import all"),
        ("api/problems.py", "from gateway import app", "cli may import all"),
        ("gateway/relay/app.py", "from gateway import hub", "the relay does not import the gateway"),
        ("gateway/hub.py", "from gateway.relay import app", "the gateway does not import the relay"),
        (
            "gateway/hub.py",
            "from core.settings import Settings",
            "settings are read in composition roots only",
        ),
    ],
)
def test_an_import_that_breaks_the_rule_is_named(
    tmp_path: Path, module: str, added: str, contract: str
) -> None:
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for package in PACKAGES:
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    changed = tmp_path / module
    changed.write_text(f"{changed.read_text()}\n{added}\n")
    finished = lint_imports(tmp_path)
    assert finished.returncode != 0
    broken = [line for line in finished.stdout.splitlines() if " BROKEN" in line]
    assert any(contract in line for line in broken), finished.stdout

"""The client's package stands alone, and its pure modules touch neither time nor chance nor the wire."""

import ast
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[3] / "clients" / "python" / "src" / "branchline_client"
OUTSIDE = {"httpx", "orjson", "websockets"}
IMPURE = {
    "asyncio",
    "concurrent",
    "httpx",
    "logging",
    "os",
    "random",
    "secrets",
    "socket",
    "sqlite3",
    "threading",
    "time",
    "websockets",
}
MODULES = sorted(PACKAGE.glob("*.py"))


def imports_of(path: Path) -> set[str]:
    """The names of the modules that a module imports; ours in full."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return found


def is_pure(path: Path) -> bool:
    return path.read_text(encoding="utf-8").startswith('"""PURE.')


@pytest.mark.parametrize("path", MODULES, ids=lambda p: p.stem)
def test_a_module_imports_its_own_package_and_three_libraries(path: Path) -> None:
    roots = {name.partition(".")[0] for name in imports_of(path)}
    assert roots <= {"branchline_client", *OUTSIDE, *sys.stdlib_module_names}


@pytest.mark.parametrize("path", [each for each in MODULES if is_pure(each)], ids=lambda p: p.stem)
def test_a_pure_module_imports_nothing_impure(path: Path) -> None:
    names = imports_of(path)
    assert not {name.partition(".")[0] for name in names} & IMPURE
    own = {name.partition(".")[2] for name in names if name.startswith("branchline_client.")}
    # Errors are names and words.
    assert all(is_pure(PACKAGE / f"{name}.py") for name in own - {"errors"})


def test_what_decides_is_pure() -> None:
    pure = {path.stem for path in MODULES if is_pure(path)}
    assert {"states", "feed", "mirror", "rebase", "queue", "view", "clock", "backoff"} <= pure

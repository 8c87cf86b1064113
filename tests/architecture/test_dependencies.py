"""docs/dependencies.md gives a reason for each package that the project asks for, and for no other."""

import re
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

from tests.architecture.test_locks import direct_requirements

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "dependencies.md"


def documented(heading: str) -> list[str]:
    """The packages in the table below a heading; each row has a reason."""
    section = DOCUMENT.read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| `([^`]+)`[^|]*\|([^|]+)\|", section, flags=re.MULTILINE)
    assert all(reason.strip() for _, reason in rows)
    return [canonicalize_name(name) for name, _ in rows]


@pytest.mark.parametrize(
    ("heading", "locks"), [("Runtime", ["runtime"]), ("Development", ["development", "node"])]
)
def test_every_direct_dependency_has_its_reason(heading: str, locks: list[str]) -> None:
    asked = {
        canonicalize_name(requirement.name) for lock in locks for requirement in direct_requirements(lock)
    }
    if heading == "Development":
        asked -= {canonicalize_name(requirement.name) for requirement in direct_requirements("runtime")}
    assert sorted(documented(heading)) == sorted(asked)

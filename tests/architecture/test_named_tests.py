"""The tests that documents name are there, under that name."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_NAMED = re.compile(r"\b(tests/[\w/]+\.py)::(test_\w+)")
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("clients/*.md")])


def test_there_are_names_to_check() -> None:
    assert len(_NAMED.findall((ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8"))) >= 10


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_test_that_a_document_names_is_there(document: Path) -> None:
    for path, name in _NAMED.findall(document.read_text(encoding="utf-8")):
        source = ROOT / path
        assert source.exists(), f"{document.name} names {path}, which is not there"
        assert re.search(rf"def {name}\(", source.read_text(encoding="utf-8")), f"{path} has no {name}"

"""Each invariant has a mutant, and each mutant still fits the source and names a test that is there."""

from pathlib import Path

import pytest

from tools.mutants import Mutant, apply, copy_source, read_mutants

ROOT = Path(__file__).resolve().parents[2]
MUTANTS = read_mutants()


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the source."""
    folder = tmp_path_factory.mktemp("source")
    copy_source(folder)
    return folder


@pytest.mark.parametrize("invariant", ["I1", "I2", "I3", "I4", "I5"])
def test_an_invariant_has_a_mutant(invariant: str) -> None:
    assert invariant in {mutant.invariant for mutant in MUTANTS}


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.patch.stem)
def test_a_mutant_fits_the_source_and_names_a_test(mutant: Mutant, source: Path) -> None:
    apply(mutant.patch, source, "--check")
    file, _, name = mutant.test.partition("::")
    assert f"def {name.split('::')[-1].partition('[')[0]}(" in (ROOT / file).read_text()


def test_a_patch_without_its_header_is_refused(tmp_path: Path) -> None:
    (tmp_path / "nameless.patch").write_text("--- a/core/clock.py\n+++ b/core/clock.py\n")
    with pytest.raises(ValueError, match="nameless"):
        read_mutants(tmp_path)

"""Each invariant has a mutant, and each mutant still fits the source and names a test that is there."""

from pathlib import Path

import pytest

from tools.mutants import Mutant, apply, copy_source, read_mutants

ROOT = Path(__file__).resolve().parents[2]
MUTANTS = read_mutants()


@pytest.mark.parametrize("invariant", ["I1", "I2", "I3", "I4", "I5"])
def test_an_invariant_has_a_mutant(invariant: str) -> None:
    assert invariant in {mutant.invariant for mutant in MUTANTS}


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.patch.stem)
def test_a_mutant_fits_the_source_and_names_a_test(mutant: Mutant, tmp_path: Path) -> None:
    copy_source(tmp_path)
    apply(mutant.patch, tmp_path)
    file, _, name = mutant.test.partition("::")
    assert f"def {name.split('::')[-1].partition('[')[0]}(" in (ROOT / file).read_text()


def test_a_patch_without_its_header_is_refused(tmp_path: Path) -> None:
    (tmp_path / "nameless.patch").write_text("--- a/core/clock.py\n+++ b/core/clock.py\n")
    with pytest.raises(ValueError, match="nameless"):
        read_mutants(tmp_path)


def test_a_patch_that_no_longer_fits_is_refused(tmp_path: Path) -> None:
    tmp_path.joinpath("clock.py").write_text("one\ntwo\nthree\n")
    patch = tmp_path / "late.patch"
    patch.write_text("--- a/clock.py\n+++ b/clock.py\n@@ -1,2 +1,2 @@\n one\n-two\n+2\n")
    apply(patch, tmp_path)
    assert tmp_path.joinpath("clock.py").read_text() == "one\n2\nthree\n"
    with pytest.raises(ValueError, match=r"fits clock\.py in 0 places"):
        apply(patch, tmp_path)

"""The locks: universal, pinned by version and hash, without an address, in step with pyproject.toml."""

import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))


@dataclass(frozen=True)
class Pin:
    """One version of one package in a lock; a universal lock may hold several, each with its marker."""

    name: str
    version: Version
    marker: str
    hashes: frozenset[str]


def read_lock(name: str) -> list[Pin]:
    text = (ROOT / "requirements" / f"{name}.txt").read_text()
    lines = [
        line for line in text.replace("\\\n", " ").splitlines() if line and not line.lstrip().startswith("#")
    ]
    pins = []
    for line in lines:
        requirement_text, *hashes = line.split("--hash=")
        requirement = Requirement(requirement_text)
        (specifier,) = requirement.specifier
        assert specifier.operator == "==", f"{name}: {requirement} is not pinned"
        version = Version(specifier.version)
        marker = str(requirement.marker or "")
        found = frozenset(part.strip() for part in hashes)
        pins.append(Pin(canonicalize_name(requirement.name), version, marker, found))
    return pins


def direct_requirements(lock: str) -> list[Requirement]:
    """What pyproject.toml asks of a lock, with the groups that a group includes."""

    def group(name: str) -> list[str]:
        entries = PROJECT["dependency-groups"][name]
        return [text for e in entries for text in ([e] if isinstance(e, str) else group(e["include-group"]))]

    runtime = PROJECT["project"]["dependencies"]
    texts = {"runtime": runtime, "development": [*runtime, *group("dev")]}
    return [Requirement(text) for text in texts.get(lock) or group(lock)]


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.stem)
def test_a_lock_names_no_address(lock: Path) -> None:
    text = lock.read_text()
    assert "://" not in text
    assert not [line for line in text.splitlines() if line.startswith(("-i", "--index", "--extra", "--find"))]


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.stem)
def test_every_package_of_a_lock_is_pinned_by_version_and_hash(lock: Path) -> None:
    pins = read_lock(lock.stem)
    assert pins
    for pin in pins:
        assert pin.hashes, f"{pin.name} has no hash"
        assert all(text.startswith("sha256:") and len(text) == 71 for text in pin.hashes)


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.stem)
def test_a_lock_fits_what_the_project_asks_for(lock: Path) -> None:
    pins = read_lock(lock.stem)
    for requirement in direct_requirements(lock.stem):
        versions = [pin.version for pin in pins if pin.name == canonicalize_name(requirement.name)]
        assert versions, f"{requirement} is not in {lock.name}: run `make lock`"
        assert all(version in requirement.specifier for version in versions), f"{requirement}: {versions}"


def test_development_holds_the_runtime_lock_unchanged() -> None:
    assert set(read_lock("runtime")) <= set(read_lock("development"))


def test_uv_and_the_build_backend_are_locked_at_the_version_that_is_used() -> None:
    development = {pin.name: pin for pin in read_lock("development")}
    assert read_lock("uv") == [development["uv"]]
    (backend,) = map(Requirement, PROJECT["build-system"]["requires"])
    assert str(backend.specifier) == f"=={development[backend.name].version}"

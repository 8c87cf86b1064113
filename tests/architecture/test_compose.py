"""compose.yaml: it fits the Compose specification, and gives each process what it needs and nothing else."""

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from core.settings import Settings, variable_name

ROOT = Path(__file__).resolve().parents[2]
COMPOSE_FILE = ROOT / "compose.yaml"
OURS = {"migrate", "api", "relay", "gateway-1", "gateway-2"}
KEYS = {"BRANCHLINE_SECRET", "BRANCHLINE_SIGNING_KEY"}


@pytest.fixture(scope="module")
def services() -> dict[str, Any]:
    return dict(yaml.safe_load(COMPOSE_FILE.read_text())["services"])


def check_against_specification(path: Path) -> subprocess.CompletedProcess[str]:
    """Check a file against the Compose specification's published schema, as check-jsonschema carries it."""
    command = [
        str(Path(sys.executable).with_name("check-jsonschema")),
        "--builtin-schema",
        "vendor.compose-spec",
    ]
    return subprocess.run([*command, str(path)], capture_output=True, text=True)


def test_the_file_fits_the_compose_specification() -> None:
    finished = check_against_specification(COMPOSE_FILE)
    assert finished.returncode == 0, finished.stdout


def test_the_specification_refuses_a_slip(tmp_path: Path) -> None:
    broken = tmp_path / "compose.yaml"
    broken.write_text(COMPOSE_FILE.read_text().replace("healthcheck:", "helthcheck:"))
    finished = check_against_specification(broken)
    assert finished.returncode != 0
    assert "helthcheck" in finished.stdout


def test_docker_reads_the_file() -> None:
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], capture_output=True).returncode != 0:
        pytest.skip("there is no `docker compose` here")
    command = [docker, "compose", "--file", str(COMPOSE_FILE), "config", "--quiet"]
    finished = subprocess.run(command, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    assert "variable is not set" not in finished.stderr


def test_it_has_the_servers_and_every_role(services: dict[str, Any]) -> None:
    assert set(services) == {"postgres", "valkey"} | OURS
    commands = {name: services[name]["command"] for name in OURS}
    assert commands == {
        "migrate": ["migrate"], "api": ["api"], "relay": ["relay"], "gateway-1": ["gateway"], "gateway-2": ["gateway"],
    }  # fmt: skip


def test_all_that_goes_on_running_has_a_healthcheck(services: dict[str, Any]) -> None:
    assert {name for name, service in services.items() if "healthcheck" not in service} == {"migrate"}


def test_every_setting_is_one_that_the_program_knows(services: dict[str, Any]) -> None:
    known = {variable_name(name) for name in Settings.model_fields}
    for name in OURS:
        assert set(services[name]["environment"]) <= known


def test_valkey_asks_for_the_password_that_the_processes_have(services: dict[str, Any]) -> None:
    command = services["valkey"]["command"]
    password = command[command.index("--requirepass") + 1]
    for name in OURS - {"migrate"}:
        assert services[name]["environment"]["REDIS_URL"] == f"redis://:{password}@valkey:6379/0"


def test_only_the_migration_and_the_relay_have_the_owner_of_the_tables(services: dict[str, Any]) -> None:
    """The relay makes and retires the log's partitions; it serves nobody from outside."""
    owners = {name for name in OURS if "branchline_owner" in str(services[name]["environment"])}
    assert owners == {"migrate", "relay"}


def test_only_those_who_check_tokens_have_the_keys(services: dict[str, Any]) -> None:
    assert {name for name in OURS if KEYS & set(services[name]["environment"])} == {
        "api",
        "gateway-1",
        "gateway-2",
    }


def test_ports_are_published_on_loopback_and_once(services: dict[str, Any]) -> None:
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert all(port.startswith("127.0.0.1:") for port in ports)
    assert len({port.split(":")[1] for port in ports}) == len(ports) == 3


def test_roles_start_after_the_migration(services: dict[str, Any]) -> None:
    for name in OURS - {"migrate"}:
        assert services[name]["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}


def test_postgresql_18_keeps_its_data_where_that_image_does(services: dict[str, Any]) -> None:
    assert services["postgres"]["image"] == "postgres:18"
    assert services["postgres"]["volumes"] == ["database:/var/lib/postgresql"]


def test_everything_that_the_image_copies_is_let_through_to_the_build() -> None:
    patterns = (ROOT / ".dockerignore").read_text().splitlines()
    allowed = {line[1:] for line in patterns if line.startswith("!")}
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    sources = {source.split("/")[0] for line in copied for source in line.split()} - {"."}
    assert sources <= allowed
    assert all((ROOT / name).exists() for name in allowed)

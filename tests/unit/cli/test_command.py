"""The command line from outside: its commands and options, and one line for a mistake."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PRODUCTION = {
    "BRANCHLINE_ENV": "production",
    "BRANCHLINE_JWKS_URL": "https://issuer.example/keys",
    "BRANCHLINE_ALLOWED_ORIGINS": "https://crm.example",
    "DATABASE_URL": "postgresql://127.0.0.1:1/b",
    "BRANCHLINE_OWNER_DATABASE_URL": "postgresql://127.0.0.1:1/b",
}
COMMANDS = [
    "up",
    "api",
    "gateway",
    "relay",
    "migrate",
    "seed",
    "reset",
    "token",
    "tail",
    "doctor",
    "settings",
    "bench",
]


def branchline(*arguments: str, folder: Path = ROOT, **variables: str) -> subprocess.CompletedProcess[str]:
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("BRANCHLINE_", "DATABASE_"))
    }
    kept.pop("REDIS_URL", None)
    return subprocess.run(
        [sys.executable, "-m", "cli.main", *arguments],
        cwd=folder,
        env={**kept, "PYTHONPATH": str(ROOT), **variables},
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_help_lists_every_command() -> None:
    finished = branchline("--help")
    assert finished.returncode == 0
    listed = [
        line.split()[0] for line in finished.stdout.partition("Commands:")[2].splitlines() if line.strip()
    ]
    assert set(COMMANDS) <= set(listed)


def test_up_has_the_options_of_the_documentation() -> None:
    text = branchline("up", "--help").stdout
    for option in ("--api-port", "--gateway-port", "--gateways", "--home", "--host", "--no-demo"):
        assert option in text


@pytest.mark.parametrize(
    ("arguments", "variables", "expected"),
    [
        (["upp"], {}, "No such command 'upp'"),
        (["up", "--gateways", "0"], {}, "Invalid value for '--gateways'"),
        (["up", "--api-port", "8001"], {}, "the API's port 8001 is one of the gateways'"),
        (["token"], {}, "Missing argument 'email'"),
        (
            ["token", "ana@demo.test"],
            {},
            "no `branchline up` runs in .branchline and DATABASE_URL is not set",
        ),
        (["migrate"], {"DATABASE_URL": "nonsense"}, "DATABASE_URL is wrong"),
        (
            ["migrate"],
            {"DATABASE_URL": "postgresql://a:secret@127.0.0.1:1/b"},
            "PostgreSQL at 127.0.0.1:1/b cannot be",
        ),
        (["api"], {}, "DATABASE_URL is not set"),
        (["gateway"], {"DATABASE_URL": "postgresql://127.0.0.1:1/b"}, "REDIS_URL is not set"),
        (
            ["relay"],
            {"BRANCHLINE_ENV": "production"},
            "BRANCHLINE_SIGNING_KEY is not set",
        ),
        (["seed"], PRODUCTION, "is for development only: BRANCHLINE_ENV is production"),
        (["reset"], PRODUCTION, "is for development only: BRANCHLINE_ENV is production"),
    ],
)
def test_a_mistake_is_one_line_and_status_2(
    arguments: list[str], variables: dict[str, str], expected: str, tmp_path: Path
) -> None:
    finished = branchline(*arguments, folder=tmp_path, **variables)
    assert finished.returncode == 2
    assert finished.stderr.startswith("branchline: ")
    assert expected in finished.stderr
    assert len(finished.stderr.splitlines()) == 1
    assert "secret" not in finished.stderr


def test_a_variable_that_means_nothing_is_reported(tmp_path: Path) -> None:
    finished = branchline(
        "api", folder=tmp_path, BRANCHLINE_APIPORT="1", DATABASE_URL="postgresql://127.0.0.1:1/b"
    )
    assert "REDIS_URL is not set" in finished.stderr
    finished = branchline("doctor", folder=tmp_path, BRANCHLINE_APIPORT="1")
    assert "BRANCHLINE_APIPORT is set and means nothing" in finished.stdout


def test_the_page_of_settings_is_what_the_code_says() -> None:
    page = ROOT.joinpath("docs/settings.md").read_text()
    assert page == branchline("settings", "--markdown").stdout, (
        "run `branchline settings --markdown > docs/settings.md`"
    )


def test_the_list_of_settings_has_every_variable() -> None:
    listed = branchline("settings").stdout
    for variable in ("DATABASE_URL", "REDIS_URL", "BRANCHLINE_LOGINS_PER_MINUTE_PER_ADDRESS (default: 30)"):
        assert variable in listed


def test_starting_the_command_does_not_load_what_other_commands_need() -> None:
    finished = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "cli.main", "up", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    loaded = {line.rpartition("|")[2].strip() for line in finished.stderr.splitlines()}
    assert not loaded & {"fastapi", "asyncpg", "redis", "websockets", "argon2", "prometheus_client"}

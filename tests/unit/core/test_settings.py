"""Settings: from the environment, with a line for each mistake."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from core.lifecycle import StartupError
from core.settings import Settings, load_settings, unknown_variables, variable_name
from tests.signing import pem_of

LONG_KEY = "k" * 32
PRIVATE_KEY = pem_of(Ed25519PrivateKey.generate())


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No variable of this machine and no .env of the clone plays a part."""
    for name in Settings.model_fields:
        monkeypatch.delenv(variable_name(name), raising=False)
    monkeypatch.chdir(tmp_path)


def test_a_variable_has_the_prefix_unless_other_programs_share_its_name() -> None:
    assert variable_name("api_port") == "BRANCHLINE_API_PORT"
    assert variable_name("database_url") == "DATABASE_URL"
    assert variable_name("redis_url") == "REDIS_URL"


def test_the_environment_wins_over_the_env_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tmp_path.joinpath(".env").write_text("BRANCHLINE_API_PORT=1111\nREDIS_URL=redis://from-file/0\n")
    monkeypatch.setenv("BRANCHLINE_API_PORT", "2222")
    settings = load_settings()
    assert (settings.api_port, settings.redis_url) == (2222, "redis://from-file/0")


def test_reads_that_have_no_server_of_their_own_go_to_the_first() -> None:
    settings = load_settings(database_url="postgresql://app@db/branchline")
    assert settings.listen_database_url == settings.replica_database_url == settings.database_url


def test_origins_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRANCHLINE_ALLOWED_ORIGINS", "https://a.example/, https://b.example")
    assert load_settings().allowed_origins == ("https://a.example", "https://b.example")


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("BRANCHLINE_API_PORT", "many", "BRANCHLINE_API_PORT is wrong"),
        ("BRANCHLINE_API_PORT", "0", "BRANCHLINE_API_PORT is wrong"),
        ("DATABASE_URL", "mysql://db/x", "DATABASE_URL is wrong: a URL that begins with postgresql://"),
        ("REDIS_URL", "localhost:6379", "REDIS_URL is wrong: a URL that begins with redis://"),
        ("BRANCHLINE_SECRET", "short", "BRANCHLINE_SECRET is wrong: at least 32 bytes"),
        ("BRANCHLINE_CONNECTIONS_PER_USER", "-1", "BRANCHLINE_CONNECTIONS_PER_USER is wrong"),
    ],
)
def test_a_wrong_value_is_one_line_that_names_its_variable(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, expected: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(StartupError, match=expected) as caught:
        load_settings()
    assert "\n" not in str(caught.value)


def test_no_error_and_no_representation_shows_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRANCHLINE_SECRET", "hush-hush")
    with pytest.raises(StartupError) as caught:
        load_settings()
    assert "hush" not in str(caught.value)
    settings = load_settings(
        secret="hush" * 8, database_url="postgresql://u:hush@db/x", signing_key="hush" * 8
    )
    assert "hush" not in repr(settings)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, "BRANCHLINE_SIGNING_KEY is not set"),
        ({"signing_key": LONG_KEY}, "BRANCHLINE_SIGNING_KEY is a secret"),
        ({"signing_key": PRIVATE_KEY, "secret": LONG_KEY}, "BRANCHLINE_SECRET is a development key"),
        ({"signing_key": PRIVATE_KEY}, "BRANCHLINE_ALLOWED_ORIGINS is not set"),
        (
            {"jwks_url": "http://issuer.example/keys"},
            "BRANCHLINE_JWKS_URL is wrong: a URL that begins with https",
        ),
    ],
)
def test_production_refuses_what_is_only_safe_in_development(values: dict[str, str], expected: str) -> None:
    with pytest.raises(StartupError, match=expected):
        load_settings(env="production", **values)


@pytest.mark.parametrize("as_file", [True, False])
def test_production_signs_with_a_private_key_of_its_own(tmp_path: Path, as_file: bool) -> None:
    path = tmp_path / "signing.pem"
    path.write_text(PRIVATE_KEY)
    settings = load_settings(
        env="production",
        signing_key=str(path) if as_file else PRIVATE_KEY,
        allowed_origins="https://a.example",
    )
    assert settings.token_key == PRIVATE_KEY


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("/nowhere/signing.pem", "BRANCHLINE_SIGNING_KEY is wrong: the file cannot be read"),
        (PRIVATE_KEY.replace("M", "L", 1), "BRANCHLINE_SIGNING_KEY is wrong: it cannot be read"),
        (pem_of(ec.generate_private_key(ec.SECP256R1())), "an Ed25519 or an RSA key was expected"),
    ],
)
def test_a_key_that_is_none_is_refused_and_not_quoted(key: str, expected: str) -> None:
    with pytest.raises(StartupError, match=expected) as caught:
        load_settings(signing_key=key)
    assert "PRIVATE" not in str(caught.value)


def test_what_is_required_and_missing_is_named() -> None:
    with pytest.raises(StartupError, match=r"REDIS_URL is not set: Redis or Valkey"):
        load_settings(database_url="postgresql://db/x").require("database_url", "redis_url")


def test_unknown_variables_are_found_in_the_environment_and_the_file(tmp_path: Path) -> None:
    file = tmp_path / "settings.env"
    file.write_text("BRANCHLINE_GATWAY_PORT=1\nBRANCHLINE_HOST=::1\n")
    environment = {"BRANCHLINE_APIPORT": "1", "BRANCHLINE_ENV": "development", "PATH": "/bin"}
    assert unknown_variables(environment, file) == ["BRANCHLINE_APIPORT", "BRANCHLINE_GATWAY_PORT"]

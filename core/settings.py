"""Everything that can be set from outside, read once in a composition root and passed on.

Values come from the environment and from a `.env` file in the current folder; the environment wins.
`docs/settings.md` is generated from this module, so a description here is the documentation.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AliasChoices, Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from core.addresses import parse_networks
from core.lifecycle import StartupError
from core.sealing import parse_keys
from core.token_keys import BadKeyError, is_private_key, read_keys

PREFIX = "BRANCHLINE_"
ENV_FILE = ".env"
MINIMUM_SECRET_BYTES = 32
SECRET_NAMES = frozenset(
    {
        "database_url",
        "owner_database_url",
        "listen_database_url",
        "replica_database_url",
        "redis_url",
        "secret",
        "signing_key",
        "mail_url",
        "field_keys",
    }
)

_Port = Annotated[int, Field(ge=1, le=65535)]
_Limit = Annotated[int, Field(ge=0)]


def _url(name: str, description: str) -> Any:
    """A field whose variable has no prefix, because other programs use the same name."""
    return Field(
        default="",
        repr=False,
        validation_alias=AliasChoices(name, name.lower()),
        description=description,
    )


class Settings(BaseSettings):
    """One process's settings. An empty text means "not set"; a limit of 0 means "no limit".

    `listen_database_url` and `replica_database_url` fall back to `database_url`, so readers need not care.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_file=ENV_FILE,
        env_file_encoding="utf-8",
        extra="ignore",
        frozen=True,
        populate_by_name=True,
    )

    env: Literal["development", "production"] = Field(
        default="development",
        description="`development` or `production`. Production refuses to start with a default that is not "
        "safe there.",
    )

    database_url: str = _url(
        "DATABASE_URL",
        "PostgreSQL for the application: a login role that owns nothing and is a member of "
        "`branchline_api`, `branchline_gateway` and `branchline_relay`. `branchline up` starts a PostgreSQL "
        "of its own if this is not set.",
    )
    owner_database_url: str = Field(
        default="",
        repr=False,
        description="PostgreSQL as the role that owns the tables: for `migrate`, `seed` and `reset`. "
        "In development `DATABASE_URL` is used if this is not set.",
    )
    listen_database_url: str = Field(
        default="",
        repr=False,
        description="A direct connection for LISTEN, needed where `DATABASE_URL` goes through a pooler. "
        "`DATABASE_URL` if not set.",
    )
    replica_database_url: str = Field(
        default="",
        repr=False,
        description="Reserved for a read replica that serves catch-up reads; not used yet. `DATABASE_URL` if not set.",
    )
    redis_url: str = _url(
        "REDIS_URL",
        "Redis or Valkey, for publications, presence and tickets. `branchline up` starts a Valkey of its "
        "own if this is not set.",
    )

    secret: str = Field(
        default="",
        repr=False,
        description="The key that signs access tokens in development, at least 32 bytes. `branchline up` "
        "makes one and keeps it in its home.",
    )
    signing_key: str = Field(
        default="",
        repr=False,
        description="The private key that signs access tokens in production, Ed25519 or RSA of 2,048 bits or more: "
        "PKCS #8 as PEM (line ends may be written as \\n) or as base64 of DER, or the path of a file with it. Of "
        "several PEM blocks the first one signs and all verify.",
    )
    jwks_url: str = Field(
        default="",
        description="Where the keys that verify access tokens are published, for a gateway that is not to hold the "
        "signing key: the API's `/api/auth/jwks.json`. https, or http on this machine.",
    )
    field_keys: str = Field(
        default="",
        repr=False,
        description="The keys that seal tax ids and tokens of outside systems at rest: base64 of 32 bytes each "
        "(`openssl rand -base64 32`), with commas between. The first one seals, all open; `branchline rotate-keys` "
        "seals anew what older ones have sealed. In development one is made of the secret if this is not set.",
    )
    allowed_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="Origins, with commas between, whose pages may use the API and the gateway. In "
        "development `http://localhost:*` and `http://127.0.0.1:*` are allowed as well.",
    )

    public_url: str = Field(
        default="",
        description="Where people find the page, such as `https://crm.example.com`, for links in mail. The API's own "
        "address if not set; in production the API demands it where it sends mail.",
    )
    mail_url: str = Field(
        default="",
        repr=False,
        description="The server that takes mail: `smtp://user:password@host:587`, or `smtps://`. In development mail "
        "is kept in the home's folder `mail` if this is not set; in production nothing can be mailed then.",
    )
    mail_from: str = Field(default="branchline@localhost", description="The sender of mail.")

    home: Path = Field(
        default=Path(".branchline"),
        description="Where `branchline up` keeps its data, and where other commands look for the servers that "
        "it runs when `DATABASE_URL` is not set.",
    )
    host: str = Field(default="127.0.0.1", min_length=1, description="The address that servers listen on.")
    tls_cert: str = Field(
        default="",
        description="A certificate with its chain, a PEM file: API and gateways then speak https and wss themselves. "
        "Not needed behind a proxy that does.",
    )
    tls_key: str = Field(default="", description="The certificate's private key, a PEM file.")
    api_port: _Port = Field(default=8000, description="The port of the API and of the demo page.")
    gateway_port: _Port = Field(
        default=8001,
        description="The port of the WebSocket gateways. Gateway *n* answers `/readyz` and `/metrics` on "
        "this port + *n*.",
    )
    gateway_index: int = Field(
        default=1, ge=1, description="Which gateway of this machine a process is, from 1."
    )
    gateway_url: str = Field(
        default="",
        description="The gateway's address as browsers reach it, such as `wss://crm.example.com/ws`. "
        "Made of the page's host and the gateway's port if not set.",
    )
    relay_port: _Port = Field(default=8090, description="The port of the relay's `/readyz` and `/metrics`.")
    database_pool_size: int = Field(
        default=10, ge=1, le=1000, description="The most connections that one process opens to PostgreSQL."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="The lowest level that is logged: `debug`, `info`, `warning` or `error`."
    )

    session_idle_seconds: int = Field(
        default=30 * 24 * 3600, ge=60, description="A login ends when it was not refreshed for this long."
    )
    session_seconds: _Limit = Field(
        default=90 * 24 * 3600, description="A login ends this long after it began, whatever happens."
    )
    sessions_per_user: _Limit = Field(
        default=100,
        description="Logins of one person in one organisation that are in force at a time; the ones used least "
        "lately end.",
    )

    trusted_proxies: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="Addresses or networks of proxies, with commas between, whose `X-Forwarded-For` and "
        "`X-Forwarded-Proto` are believed. Limits by address then count the clients behind them.",
    )

    connections_per_user: _Limit = Field(default=10, description="Open sockets of one person.")
    connections_per_organization: _Limit = Field(
        default=1000, description="Open sockets of one organisation."
    )
    connections_per_address: _Limit = Field(default=100, description="Open sockets from one IP address.")
    http_connections_per_address: _Limit = Field(
        default=500,
        description="Open HTTP connections of one API process from one IP address (IPv6: from one /64). Those of "
        "trusted proxies count in `BRANCHLINE_HTTP_CONNECTIONS` only.",
    )
    http_connections: _Limit = Field(
        default=5000,
        description="Open HTTP connections of one API process in all: fewer than it may have open files.",
    )
    writes_per_second_per_user: _Limit = Field(
        default=50,
        description="Writes a second by one person over HTTP, with bursts of twice as many; a push counts as one and "
        "one more for each 20 mutations.",
    )
    writes_per_second_per_address: _Limit = Field(
        default=500, description="The same from one IP address (IPv6: from one /64)."
    )
    messages_per_second_per_user: _Limit = Field(
        default=20,
        description="Messages a second that one person's sockets may send, with bursts of twice as many.",
    )
    views_per_user: _Limit = Field(
        default=200,
        description="Topics in all that one person's sockets on one gateway may follow; the same one on several "
        "sockets counts once.",
    )
    logins_per_minute_per_address: _Limit = Field(
        default=30,
        description="Attempts to sign in, a minute, from one IP address.",
    )
    logins_per_minute_per_account: _Limit = Field(
        default=10,
        description="Attempts to sign in, a minute, to one e-mail address, from wherever; whether somebody has it "
        "or not.",
    )
    invitations_per_hour_per_organization: _Limit = Field(
        default=50, description="Invitations that one organisation may send, an hour."
    )

    @field_validator("trusted_proxies", mode="before")
    @classmethod
    def _split_networks(cls, value: object) -> object:
        if isinstance(value, str):
            value = tuple(part.strip() for part in value.split(",") if part.strip())
        if isinstance(value, tuple):
            parse_networks(value)
        return value

    @field_validator("allowed_origins", mode="before")
    @classmethod
    def _split_origins(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip().rstrip("/") for part in value.split(",") if part.strip())
        return value

    @field_validator("signing_key", mode="before")
    @classmethod
    def _read_key_file(cls, value: object) -> object:
        if isinstance(value, str) and value.startswith("/"):
            try:
                return Path(value).read_text()
            except (OSError, UnicodeDecodeError) as error:
                raise ValueError(f"the file cannot be read ({type(error).__name__})") from None
        return value

    @field_validator("jwks_url")
    @classmethod
    def _safe_url(cls, value: str) -> str:
        if value and not re.match(r"https://|http://(localhost|127\.0\.0\.1|\[::1\])[:/]", value):
            raise ValueError("a URL that begins with https:// was expected, or one of this machine")
        return value

    @field_validator("secret", "signing_key")
    @classmethod
    def _long_enough(cls, value: str) -> str:
        if value and len(value.encode()) < MINIMUM_SECRET_BYTES:
            raise ValueError(
                f"at least {MINIMUM_SECRET_BYTES} bytes are needed, {len(value.encode())} were given"
            )
        return value

    @field_validator("database_url", "owner_database_url", "listen_database_url", "replica_database_url")
    @classmethod
    def _postgresql_url(cls, value: str) -> str:
        if value and not value.startswith(("postgresql://", "postgres://")):
            raise ValueError("a URL that begins with postgresql:// was expected")
        return value

    @field_validator("field_keys")
    @classmethod
    def _field_keys(cls, value: str) -> str:
        if value:
            parse_keys(value)
        return value

    @field_validator("mail_url")
    @classmethod
    def _mail_url(cls, value: str) -> str:
        if value and not value.startswith(("smtp://", "smtps://")):
            raise ValueError("a URL that begins with smtp:// or smtps:// was expected")
        return value

    @field_validator("redis_url")
    @classmethod
    def _redis_url(cls, value: str) -> str:
        if value and not value.startswith(("redis://", "rediss://", "unix://")):
            raise ValueError("a URL that begins with redis:// was expected")
        return value

    @model_validator(mode="after")
    def _fall_back(self) -> "Settings":
        # The model is frozen for everybody else; this is still its making.
        for name in ("listen_database_url", "replica_database_url"):
            if not getattr(self, name):
                object.__setattr__(self, name, self.database_url)
        if not self.owner_database_url and self.env == "development":
            object.__setattr__(self, "owner_database_url", self.database_url)
        return self

    @property
    def page_url(self) -> str:
        """Where people find the page, and programs the API."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)
        scheme = "https" if self.tls_cert else "http"
        return self.public_url or f"{scheme}://{f'[{host}]' if ':' in host else host}:{self.api_port}"

    @property
    def production(self) -> bool:
        """Whether defaults that are only fit for development are refused."""
        return self.env == "production"

    @property
    def token_key(self) -> str:
        """The key that signs access tokens: `signing_key` in production, `secret` in development."""
        return self.signing_key if self.production else (self.secret or self.signing_key)

    def require(self, *names: str) -> None:
        """Raise StartupError for the first of these fields that is not set."""
        for name in names:
            if not getattr(self, name):
                raise StartupError(f"{variable_name(name)} is not set: {_first_sentence(name)}")


def variable_name(field_name: str) -> str:
    """The environment variable of a field of Settings."""
    alias = Settings.model_fields[field_name].validation_alias
    if isinstance(alias, AliasChoices):
        return str(alias.choices[0])
    return PREFIX + field_name.upper()


def load_settings(**overrides: Any) -> Settings:
    """Read the settings; `overrides` go by field name and win over the environment.

    Raises StartupError, one line that names the variable, if a value is wrong or, in production, unsafe.
    """
    try:
        settings = Settings(**overrides)
    except ValidationError as error:
        raise StartupError(_describe(error)) from None
    _refuse_bad_key(settings)
    if settings.production:
        _refuse_unsafe(settings)
    return settings


def unknown_variables(
    environment: Mapping[str, str] | None = None, env_file: Path | None = None
) -> list[str]:
    """Names that begin with BRANCHLINE_, in the environment or in `.env`, and mean nothing: most often a
    slip.
    """
    names = set(os.environ if environment is None else environment)
    path = Path(ENV_FILE) if env_file is None else env_file
    if path.is_file():
        from dotenv import dotenv_values

        names.update(dotenv_values(path))
    known = {variable_name(name) for name in Settings.model_fields} | SUPERVISION_VARIABLES
    return sorted(name for name in names if name.upper().startswith(PREFIX) and name.upper() not in known)


# Set by `branchline up` for its children, not by people.
SUPERVISION_VARIABLES = frozenset({"BRANCHLINE_SUPERVISOR_PID"})


def _first_sentence(field_name: str) -> str:
    description = Settings.model_fields[field_name].description or ""
    return description.split(". ")[0].rstrip(".") + "."


def _describe(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_input=False)[0]
    location = str(first["loc"][0]) if first["loc"] else ""
    by_variable = {variable_name(name): name for name in Settings.model_fields}
    name = location if location in Settings.model_fields else by_variable.get(location.upper(), "")
    variable = variable_name(name) if name else location
    problem = str(first["msg"]).removeprefix("Value error, ")
    return (
        f"{variable} is wrong: {problem}. Its meaning: {_first_sentence(name)}"
        if name
        else f"{variable}: {problem}"
    )


def _refuse_bad_key(settings: Settings) -> None:
    for name in ("secret", "signing_key"):
        value = getattr(settings, name)
        if value:
            try:
                read_keys(value)
            except BadKeyError as error:
                raise StartupError(f"{variable_name(name)} is wrong: {error}.") from None
            except ValueError:
                # The library's words may quote the key.
                raise StartupError(f"{variable_name(name)} is wrong: it cannot be read.") from None


def _refuse_unsafe(settings: Settings) -> None:
    if not settings.signing_key and not settings.jwks_url:
        raise StartupError(
            "BRANCHLINE_ENV is production and BRANCHLINE_SIGNING_KEY is not set: make a key with "
            "`openssl genpkey -algorithm ed25519`."
        )
    if settings.signing_key and not is_private_key(settings.signing_key):
        raise StartupError(
            "BRANCHLINE_SIGNING_KEY is a secret and BRANCHLINE_ENV is production: make a private key with "
            "`openssl genpkey -algorithm ed25519`."
        )
    if settings.secret:
        raise StartupError(
            "BRANCHLINE_SECRET is a development key and BRANCHLINE_ENV is production: unset it, and use "
            "BRANCHLINE_SIGNING_KEY."
        )
    if not settings.allowed_origins:
        raise StartupError(
            "BRANCHLINE_ENV is production and BRANCHLINE_ALLOWED_ORIGINS is not set: list the origins of "
            "your pages, such as https://crm.example.com."
        )

"""`branchline token`: an access token for a person, without their password; development only."""

from cli.connections import connect
from cli.migrate import OWNER_SOURCE
from core.lifecycle import StartupError
from core.queries import load
from core.settings import Settings
from core.tokens import Tokens

# Long enough for an afternoon of trying things out.
LIFETIME_SECONDS = 10 * 3600
_queries = load("cli")


async def make_token(settings: Settings, email: str) -> str:
    """Start a session for the person and give a token for it.

    It is for the organisation that they used last. Raises StartupError in production, and for a person who is
    not there, with some who are.
    """
    if settings.production:
        raise StartupError(
            "tokens are made without a password in development only: sign in with POST /api/auth/login."
        )
    connection = await connect(settings.owner_database_url, variable=OWNER_SOURCE)
    try:
        row = await connection.fetchrow(_queries.create_session, email)
        if row is None:
            known = ", ".join(found["email"] for found in await connection.fetch(_queries.fetch_emails))
            raise StartupError(
                f"{email} is nobody who can sign in; these can: {known}."
                if known
                else "nobody can sign in to this database: `branchline seed` adds the demo's people."
            )
    finally:
        await connection.close()
    tokens = Tokens(settings.token_key, lifetime_seconds=LIFETIME_SECONDS)
    return tokens.issue(str(row["user_id"]), str(row["organization_id"]), str(row["id"]))

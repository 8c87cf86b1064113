"""People and their passwords: invitations, changes of a password, ways back to a forgotten one.

What comes by mail is a token that is good once. The database keeps its hash only. An invitation's token names its
organisation, so that it is looked for within it.
"""

import base64
import binascii
import hashlib
import re
import secrets
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg
import orjson
from uuid_utils import uuid7

from api import audit
from api.mail import MailError, MailSender
from api.memberships import are_branches
from api.passwords import Passwords
from core.database import Connection, Pool, fetch_member, scoped
from core.principal import Principal, Role
from core.queries import load

RESET_SECONDS = 3600
RESET_SPACING_SECONDS = 60
MINIMUM_PASSWORD_LENGTH = 10
PREFERENCES_BYTES = 16 * 1024
INVITATION_SECONDS = 7 * 24 * 3600
MOST_INVITATIONS = 500
"""Of an organisation that may be open at a time: as many as their list shows."""
_LINK = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029:/\\@]|www\.|[\w-]{2,}\.[^\W\d]{2,}", re.IGNORECASE)
"""What mail programs would make a link of, or a line of its own. A title before a name has a space after its dot."""
_RANDOM_BYTES = 32

_queries = load("api", "queries.sql")


class LinkRefusedError(Exception):
    """What came by mail was used, withdrawn or is too old."""


class WrongPasswordError(Exception):
    """The password is not the person's."""


class UnknownBranchError(Exception):
    """A branch is none of the organisation's."""


class TooManyInvitationsError(Exception):
    """MOST_INVITATIONS of the organisation are open."""


class NewcomerError(Exception):
    """Somebody new has to say what they are called, and choose a password; `field` says what is wanting."""

    def __init__(self, field: str, expected: str, came: str) -> None:
        super().__init__(f"{field}: {expected} was expected")
        self.field = field
        self.expected = expected
        self.came = came


@dataclass(frozen=True, slots=True)
class Invitation:
    """Who is to become what. `branch_ids` None: all branches."""

    email: str
    role: Role
    reads: str
    branch_ids: list[str] | None


class People:
    """Lets people in, and lets them change how they prove who they are. `public_url` is where the page is."""

    def __init__(self, pool: Pool, passwords: Passwords, mail: MailSender, public_url: str) -> None:
        self._pool = pool
        self._passwords = passwords
        self._mail = mail
        self._public_url = public_url.rstrip("/")

    # Passwords.

    async def change_password(self, principal: Principal, current: str, new: str, address: str) -> None:
        """Give the person another password and end their other sessions. Raises WrongPasswordError, TooBusyError."""
        stored = await self._pool.fetchval(_queries.fetch_password, principal.user_id)
        if not await self._passwords.matches(stored, current):
            raise WrongPasswordError
        hashed = await self._passwords.hash(new)
        async with scoped(self._pool, principal.organization_id) as connection:
            await connection.execute(_queries.set_password, principal.user_id, hashed)
            await connection.execute(_queries.revoke_sessions, principal.user_id, principal.session_id)
            await audit.note_in(
                connection,
                principal.organization_id,
                "password_changed",
                actor_id=principal.user_id,
                address=address,
            )

    async def send_reset(self, email: str, address: str) -> None:
        """Mail a way back to whoever has this address; nothing happens if nobody has, or one was mailed a minute ago.

        Raises MailError.
        """
        user = await self._pool.fetchrow(_queries.fetch_user, email.strip().lower())
        if user is None or user["disabled"]:
            return
        token = secrets.token_urlsafe(_RANDOM_BYTES)
        kept = await self._pool.fetchval(
            _queries.keep_reset, _hash(token), user["id"], RESET_SECONDS, RESET_SPACING_SECONDS
        )
        if kept is None:
            return
        await audit.note_at_home(
            self._pool, str(user["id"]), "password_reset_asked", actor_id=None, address=address
        )
        await self._mail.send(
            email.strip().lower(),
            "A new password",
            f"Somebody, most likely you, asked for a new password.\n\n{self._link('reset', token)}\n\n"
            "It is good once, for an hour. If it was not you, nothing has changed.",
        )

    async def reset_password(self, token: str, new: str, address: str) -> None:
        """Give whoever holds the token a new password, and end all their sessions. Raises LinkRefusedError."""
        hashed = await self._passwords.hash(new)
        async with scoped(self._pool, audit.NO_ORGANIZATION) as connection:
            user_id = await connection.fetchval(_queries.take_reset, _hash(token))
            if user_id is None:
                raise LinkRefusedError
            await connection.execute(_queries.set_password, user_id, hashed)
            await connection.execute(_queries.revoke_sessions, user_id, None)
            await audit.note_at_home_in(
                connection, user_id, "password_reset", actor_id=user_id, address=address
            )

    # Preferences.

    async def fetch_preferences(self, principal: Principal) -> dict[str, Any]:
        """What the person has set for themselves."""
        found: dict[str, Any] = orjson.loads(
            await self._pool.fetchval(_queries.fetch_preferences, principal.user_id)
        )
        return found

    async def write_preferences(
        self, principal: Principal, encoded: str, *, merge: bool
    ) -> dict[str, Any] | None:
        """Replace or change them; None if they would be too large."""
        if merge:
            parameters: tuple[Any, ...] = (
                _queries.merge_preferences,
                principal.user_id,
                encoded,
                PREFERENCES_BYTES,
            )
        else:
            parameters = (_queries.set_preferences, principal.user_id, encoded)
        written = await self._pool.fetchval(*parameters)
        return None if written is None else dict(orjson.loads(written))

    # Invitations.

    async def invite(self, principal: Principal, invitation: Invitation, address: str) -> dict[str, Any]:
        """Write an invitation down and mail it; its id and end. Older ones to the same address end.

        Raises UnknownBranchError, TooManyInvitationsError, MailError.
        """
        organization_id, identifier = principal.organization_id, str(uuid7())
        random = secrets.token_bytes(_RANDOM_BYTES)
        token = base64.urlsafe_b64encode(UUID(organization_id).bytes + random).rstrip(b"=").decode()
        async with scoped(self._pool, organization_id) as connection:
            branches = None if invitation.branch_ids is None else sorted(set(invitation.branch_ids))
            if branches and not await are_branches(connection, organization_id, branches):
                raise UnknownBranchError
            written = await connection.fetchrow(
                _queries.invite,
                organization_id,
                identifier,
                invitation.email,
                invitation.role,
                invitation.reads,
                branches,
                _hash(token),
                principal.user_id,
                INVITATION_SECONDS,
                MOST_INVITATIONS,
            )
            if written is None:
                raise TooManyInvitationsError
            await audit.note_in(
                connection,
                organization_id,
                "invited",
                actor_id=principal.user_id,
                address=address,
                email=invitation.email,
                role=invitation.role,
            )
        # A name that would be a link in the mail may stand in the database from elsewhere.
        inviter = "Somebody" if _LINK.search(principal.name) else principal.name
        # After the commit: a mail server that hangs holds no connection.
        try:
            await self._mail.send(
                invitation.email,
                "You are invited",
                f"{inviter} invites you to {written['organization_name']}.\n\n"
                f"{self._link('invitation', token)}\n\n"
                "It is good once, for seven days.",
            )
        except MailError:
            # What could not be sent was not invited.
            await self.withdraw(principal, identifier, address)
            raise
        async with scoped(self._pool, organization_id) as connection:
            await connection.execute(
                _queries.end_older_invitations, organization_id, invitation.email, identifier
            )
        return {"id": identifier, "expires_at": written["expires_at"]}

    async def fetch_invitations(self, principal: Principal) -> list[asyncpg.Record]:
        """The organisation's open invitations that are good."""
        organization_id = principal.organization_id
        async with scoped(self._pool, organization_id) as connection:
            rows = await connection.fetch(_queries.fetch_invitations, organization_id)
            issuers = {
                each: await fetch_member(connection, organization_id, each)
                for each in {row["invited_by"] for row in rows}
            }
        return [row for row in rows if _is_good(row, issuers[row["invited_by"]])]

    async def withdraw(self, principal: Principal, invitation_id: str, address: str) -> bool:
        """Take an invitation back, and say whether it was open."""
        async with scoped(self._pool, principal.organization_id) as connection:
            email = await connection.fetchval(
                _queries.end_invitation, principal.organization_id, invitation_id
            )
            if email is None:
                return False
            await audit.note_in(
                connection,
                principal.organization_id,
                "invitation_withdrawn",
                actor_id=principal.user_id,
                address=address,
                email=email,
            )
        return True

    async def find_invitation(self, token: str) -> asyncpg.Record:
        """The open invitation that a token is for: organisation, address, role, and the person if there is one.

        Raises LinkRefusedError.
        """
        organization_id = _organization_of(token)
        async with scoped(self._pool, organization_id) as connection:
            found, _ = await _find_good(connection, organization_id, token)
        return found

    async def accept(self, token: str, name: str | None, password: str, address: str) -> None:
        """Make whoever holds the token a member. Who has an account proves it by its password, who is new chooses one.

        Raises LinkRefusedError, WrongPasswordError, NewcomerError, TooBusyError.
        """
        found = await self.find_invitation(token)
        organization_id = found["organization_id"]
        is_known = found["password_hash"] is not None
        if is_known and not await self._passwords.matches(found["password_hash"], password):
            raise WrongPasswordError
        if found["user_id"] is None and not name:
            raise NewcomerError("name", "what you are called", "nothing")
        if found["user_id"] is None and name and _LINK.search(name):
            raise NewcomerError("name", "a name in one line, without addresses of pages or of mail", "others")
        if not is_known and len(password) < MINIMUM_PASSWORD_LENGTH:
            raise NewcomerError("password", f"at least {MINIMUM_PASSWORD_LENGTH} characters", "too few")
        hashed = None if is_known else await self._passwords.hash(password)
        async with scoped(self._pool, organization_id) as connection:
            # Again: the password took its time, and whoever invited may be gone since.
            _, issuer = await _find_good(connection, organization_id, token)
            # The right is whoever's gave it.
            await connection.execute(_queries.act_as, issuer.user_id)
            user_id = found["user_id"]
            if user_id is None:
                user_id = await connection.fetchval(
                    _queries.create_user, str(uuid7()), found["email"], name, hashed
                )
            elif hashed is not None:
                await connection.execute(_queries.set_password, user_id, hashed)
            if user_id is None or not await connection.fetchval(
                _queries.accept_invitation, organization_id, found["id"], user_id, issuer.role == "owner"
            ):
                raise LinkRefusedError
            await audit.note_in(
                connection, organization_id, "invitation_accepted", actor_id=str(user_id), address=address
            )

    def _link(self, name: str, token: str) -> str:
        """A link whose token stays in the browser: what is behind # is sent to no server."""
        return f"{self._public_url}/#{name}={token}"


async def _find_good(
    connection: Connection, organization_id: str, token: str
) -> tuple[asyncpg.Record, Principal]:
    """The invitation of a token, and who invites; raises LinkRefusedError."""
    found = await connection.fetchrow(_queries.find_invitation, organization_id, _hash(token))
    if found is None or found["disabled"]:
        raise LinkRefusedError
    issuer = await fetch_member(connection, organization_id, found["invited_by"])
    if issuer is None or not _is_good(found, issuer):
        raise LinkRefusedError
    return found, issuer


def _is_good(invitation: asyncpg.Record, issuer: Principal | None) -> bool:
    """Whether they might issue it today: who was removed leaves no way in behind."""
    branches = invitation["branch_ids"]
    return (
        issuer is not None
        and issuer.invites_to(invitation["role"])
        and issuer.gives_reads(invitation["reads"])
        and issuer.gives_branches(branches and [str(each) for each in branches])
    )


def _organization_of(token: str) -> str:
    try:
        raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise LinkRefusedError from None
    if len(raw) != 16 + _RANDOM_BYTES:
        raise LinkRefusedError
    return str(UUID(bytes=raw[:16]))


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()

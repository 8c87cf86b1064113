"""A token callback from an e-mail address and a password."""

import asyncio
from collections.abc import Mapping
from typing import Any

import httpx

from branchline_client.errors import NeedsAuthError, UnreachableError

LOGIN_SECONDS = 15.0


class Login:
    """Signs in, and refreshes the session when another token is needed: `connect(url, Login(url, email, password))`.

    The refresh token is good once; a session that was ended elsewhere is begun anew with the password.
    """

    def __init__(self, url: str, email: str, password: str, organization: str | None = None) -> None:
        self._url = url.rstrip("/")
        self._body = {"email": email, "password": password}
        if organization is not None:
            self._body["organization"] = organization
        self._refresh_token: str | None = None
        self._lock = asyncio.Lock()

    async def __call__(self) -> str:
        """Give an access token. Raises NeedsAuthError if the password is refused, UnreachableError."""
        async with self._lock, httpx.AsyncClient(timeout=LOGIN_SECONDS) as http:
            tokens = None
            if self._refresh_token is not None:
                body = {"refresh_token": self._refresh_token}
                tokens = await self._post(http, "/api/auth/refresh", body)
            if tokens is None:
                tokens = await self._post(http, "/api/auth/login", self._body)
            if tokens is None:
                raise NeedsAuthError("e-mail address or password is wrong")
            self._refresh_token = tokens["refresh_token"]
            return str(tokens["access_token"])

    async def _post(
        self, http: httpx.AsyncClient, path: str, body: Mapping[str, Any]
    ) -> dict[str, Any] | None:
        """The answer, or None if it is a refusal of what was given."""
        try:
            response = await http.post(self._url + path, json=body)
        except httpx.TransportError as error:
            raise UnreachableError(f"{path}: {error!r}") from error
        if response.status_code in (401, 403, 422):
            return None
        if not response.is_success:
            raise UnreachableError(f"{path}: HTTP {response.status_code}")
        tokens: dict[str, Any] = response.json()
        return tokens

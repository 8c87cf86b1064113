"""Ways to the API that misbehave."""

import itertools

import httpx


class Faulty(httpx.AsyncBaseTransport):
    """Loses every `lose_every`-th answer to a push after the server has acted; refuses everything while `is_cut`."""

    def __init__(self, *, lose_every: int = 0) -> None:
        self.lose_every = lose_every
        self.is_cut = False
        self.sent = 0
        self.lost = 0
        self.refused = 0
        self._inner = httpx.AsyncHTTPTransport()
        self._count = itertools.count(1)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send it, unless."""
        if self.is_cut:
            self.refused += 1
            raise httpx.ConnectError("cut", request=request)
        response = await self._inner.handle_async_request(request)
        if request.url.path == "/api/sync":
            self.sent += 1
            if self.lose_every and next(self._count) % self.lose_every == 0:
                await response.aread()
                self.lost += 1
                raise httpx.ReadError("the answer was lost", request=request)
        return response

    async def aclose(self) -> None:
        """Close the connections."""
        await self._inner.aclose()

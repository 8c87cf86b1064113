"""Tokens are asked for once at a time, and one that was refused is not used again."""

import asyncio
import base64
import json

import pytest

from branchline_client.credentials import Credentials, expires_at
from branchline_client.errors import NeedsAuthError


class Source:
    """A token callback that counts."""

    def __init__(self, *tokens: str | None) -> None:
        self.tokens = list(tokens)
        self.asked = 0

    async def __call__(self) -> str | None:
        self.asked += 1
        await asyncio.sleep(0)
        return self.tokens.pop(0)


async def test_those_who_ask_together_share_one_answer() -> None:
    source = Source("t1")
    credentials = Credentials(source)
    assert set(await asyncio.gather(*(credentials.get() for _ in range(5)))) == {"t1"}
    assert await credentials.get() == "t1"
    assert source.asked == 1


async def test_a_refused_token_is_replaced() -> None:
    credentials = Credentials(Source("t1", "t2"))
    await credentials.get()
    credentials.refuse("t1")
    credentials.refuse("t1")
    assert await credentials.get() == "t2"


async def test_two_refusals_in_a_row_are_for_the_program() -> None:
    source = Source("t1", "t2", "t3")
    credentials = Credentials(source)
    for _ in range(2):
        credentials.refuse(await credentials.get())
    with pytest.raises(NeedsAuthError, match="two tokens in a row"):
        await credentials.get()
    assert source.asked == 2
    credentials.replace(source)
    assert await credentials.get() == "t3"


async def test_a_token_that_was_good_for_a_while_may_be_refused_any_number_of_times() -> None:
    credentials = Credentials(Source("t1", "t2", "t3", "t4"))
    for expected in ("t1", "t2", "t3", "t4"):
        assert await credentials.get() == expected
        credentials.accept()
        credentials.refuse()


@pytest.mark.parametrize("source", ["fixed", Source("fixed", "fixed")])
async def test_the_same_token_again_is_none(source: str | Source) -> None:
    credentials = Credentials(source)
    credentials.refuse(await credentials.get())
    with pytest.raises(NeedsAuthError):
        await credentials.get()


async def test_nobody_signed_in_is_said_so() -> None:
    with pytest.raises(NeedsAuthError):
        await Credentials(Source(None)).get()


async def test_renewal_gives_a_new_token_or_none() -> None:
    credentials = Credentials(Source("t1", "t1", "t2"))
    await credentials.get()
    assert await credentials.renew() is None
    assert await credentials.renew() == "t2"
    assert await Credentials("fixed").renew() is None


def test_a_token_that_says_when_it_expires_is_read() -> None:
    payload = base64.urlsafe_b64encode(json.dumps({"exp": 1_700_000_000}).encode()).decode().rstrip("=")
    assert expires_at(f"h.{payload}.s") == 1_700_000_000
    for opaque in ("opaque", "a.b.c", "..", "a.W10.c", "a.e30.c"):
        assert expires_at(opaque) is None

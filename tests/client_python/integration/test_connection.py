"""The connection against the real system: gateways die, leave or fall silent, tokens are refused, sockets blocked."""

import asyncio
import os
import signal
import socket
from dataclasses import replace

import pytest

from branchline_client import Client, NeedsAuthError, RetryPolicy, State, StoppedError, Stream
from tests.client_python.integration.conftest import QUICK, Open, client_of, through
from tests.client_python.integration.people import ANA, BEN, CARLA, rows, within
from tests.faults.proxy import Proxy
from tests.stack import Stack


def states_of(client: Client) -> list[State]:
    seen: list[State] = []
    client.on_state(lambda state, reason: seen.append(state))
    return seen


async def test_a_line_that_was_cut_is_replaced_and_nothing_is_missed(
    system: Stack, open_client: Open, gateway_proxy: Proxy
) -> None:
    ana, ben = await open_client(ANA, gateway_url=through(gateway_proxy)), await open_client(BEN)
    seen = states_of(ana)
    async with within(), ana.live("leads") as leads:
        await leads.wait_live()
        stream = ana.subscribe("leads")
        await stream.begun()
        for n in range(5):
            write = ben.insert("leads", {"name": f"cut {n}"})
            await write.server
            gateway_proxy.reset()
            await ana.wait_for_state(State.WAITING)
            missed = ben.insert("leads", {"name": f"missed {n}"})
            await missed.server
            await ana.wait_live()
            assert [(await anext(stream)).id for _ in range(2)] == [write.id, missed.id]
        await leads.wait_for(lambda it: missed.id in it)
        assert {each["id"]: each for each in leads} == rows(system)
    assert seen.count(State.LIVE) == 5


async def test_a_silent_line_is_found_and_replaced(open_client: Open, gateway_proxy: Proxy) -> None:
    """The short form: silence of 1.5 s in place of 12 s."""
    ana = await open_client(ANA, gateway_url=through(gateway_proxy), silence_seconds=1.5)
    ben = await open_client(BEN)
    async with within(), ana.live("leads") as leads:
        await leads.wait_live()
        gateway_proxy.black_hole()
        began = asyncio.get_running_loop().time()
        write = ben.insert("leads", {"name": "into the silence"})
        await ana.wait_for_state(State.WAITING)
        assert asyncio.get_running_loop().time() - began < 3
        assert "nothing was heard" in ana.reason
        gateway_proxy.heal()
        await ana.wait_live()
        await leads.wait_for(lambda it: write.id in it)


@pytest.mark.long
async def test_a_dead_line_is_offline_in_twelve_seconds_and_replaced_in_twenty(
    system: Stack, gateway_proxy: Proxy
) -> None:
    options = {"gateway_url": through(gateway_proxy), "retry": RetryPolicy()}
    async with within(60), client_of(system, ANA, **options) as ana:
        await ana.wait_live()
        loop = asyncio.get_running_loop()
        gateway_proxy.black_hole()
        began = loop.time()
        await ana.wait_for_state(State.WAITING)
        assert loop.time() - began <= 13
        gateway_proxy.heal()
        await ana.wait_live()
        assert loop.time() - began <= 20


async def test_a_quiet_line_is_not_a_dead_one(open_client: Open) -> None:
    """With nothing going on the gateway is asked, and answers."""
    ana = await open_client(ANA, silence_seconds=1.0)
    seen = states_of(ana)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(3):
            await ana.wait_for_state(State.WAITING)
    assert seen == []


async def test_a_gateway_that_is_killed_costs_nothing(system: Stack, open_client: Open) -> None:
    ana, ben = await open_client(ANA), await open_client(BEN)
    async with within(40), ana.live("leads") as leads:
        await leads.wait_live()
        for name in ("gateway-1", "gateway-2"):
            os.kill(system.up.processes()[name].pid, signal.SIGKILL)
        await ana.wait_for_state(State.WAITING)
        writes = [ben.insert("leads", {"name": f"no gateway {n}"}) for n in range(3)]
        await asyncio.gather(*(write.server for write in writes))
        await leads.wait_for(lambda it: all(write.id in it for write in writes))
        assert {each["id"]: each for each in leads} == rows(system)


async def test_a_gateway_that_leaves_says_when_to_come_back(system: Stack, open_client: Open) -> None:
    ana, ben = await open_client(ANA), await open_client(BEN)
    seen = states_of(ana)
    async with within(40), ana.live("leads") as leads:
        await leads.wait_live()
        for name in ("gateway-1", "gateway-2"):
            os.kill(system.up.processes()[name].pid, signal.SIGTERM)
        await ana.wait_for_state(State.LEAVING)
        write = ben.insert("leads", {"name": "while leaving"})
        await ana.wait_for_state(State.WAITING, State.AUTHORIZING, State.CONNECTING)
        await ana.wait_for_state(State.LIVE)
        await leads.wait_for(lambda it: write.id in it)
    assert seen[0] is State.LEAVING


async def test_where_sockets_do_not_get_through_changes_are_polled(system: Stack, open_client: Open) -> None:
    retry = replace(QUICK, blocked_ms=200)
    ana = await open_client(ANA, gateway_url="ws://127.0.0.1:9/ws", poll_seconds=0.1, retry=retry)
    ben = await open_client(BEN)
    async with within(), ana.live("leads") as leads:
        assert ana.state is State.POLLING
        await leads.wait_live()
        write = ben.insert("leads", {"name": "polled"})
        await leads.wait_for(lambda it: write.id in it)


async def test_it_polls_as_soon_as_sockets_did_not_open_for_long_whatever_the_backoff(
    open_client: Open,
) -> None:
    retry = replace(QUICK, base_ms=1_000_000_000, cap_ms=1_000_000_000, blocked_ms=200)
    async with within():
        ana = await open_client(ANA, gateway_url="ws://127.0.0.1:9/ws", retry=retry)
        assert ana.state is State.POLLING


async def test_a_socket_that_is_never_answered_is_one_that_did_not_open(
    open_client: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("branchline_client.connection.READY_SECONDS", 0.2)
    retry = replace(QUICK, blocked_ms=0)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"ws://127.0.0.1:{silent.getsockname()[1]}/ws"
        async with within():
            ana = await open_client(ANA, gateway_url=url, retry=retry)
        assert ana.state is State.POLLING


async def test_a_refused_token_is_replaced_by_asking_again(system: Stack) -> None:
    asked = 0

    async def token() -> str:
        nonlocal asked
        asked += 1
        return "bad.token.text" if asked == 1 else system.token(ANA)

    async with within(), client_of(system, ANA, token=token) as ana:
        await ana.wait_live()
        assert asked == 2
        assert ana.principal is not None


async def test_without_a_good_token_the_program_is_asked_to_sign_in(system: Stack) -> None:
    given: list[str | None] = []

    async def token() -> str | None:
        given.append(f"bad.token.{len(given)}" if len(given) < 5 else None)
        return given[-1]

    async with within(), client_of(system, ANA, token=token) as ana:
        write = ana.insert("leads", {"name": "Typed before signing in"})
        await ana.wait_for_state(State.NEEDS_AUTH)
        assert len(given) == 2
        ana.sign_in(system.token(ANA))
        await ana.wait_live()
        assert (await write.server).status == "applied"


async def test_a_fixed_token_that_is_refused_ends_those_who_wait(system: Stack) -> None:
    async with within(), client_of(system, ANA, token="bad.token.text") as ana:
        with pytest.raises(NeedsAuthError):
            await anext(ana.subscribe("leads"))
        with pytest.raises(NeedsAuthError):
            await ana.wait_live()


async def test_a_token_callback_that_fails_is_asked_again_later(system: Stack) -> None:
    failures = [OSError("no network"), OSError("no network")]

    async def token() -> str:
        if failures:
            raise failures.pop()
        return system.token(ANA)

    async with within(), client_of(system, ANA, token=token) as ana:
        await ana.wait_live()
        assert failures == []


async def take_all(stream: Stream) -> None:
    """Take changes until the stream ends by an error."""
    async for _ in stream:
        pass


async def test_a_person_who_is_locked_out_is_told_so(system: Stack, open_client: Open) -> None:
    carla = await open_client(CARLA)
    member = f"user_id = (SELECT id FROM users WHERE email = '{CARLA}')"
    async with within():
        stream = carla.subscribe("leads")
        await stream.begun()
        try:
            system.psql(f"UPDATE organization_members SET disabled_at = now() WHERE {member}")
            with pytest.raises(StoppedError) as stopped:
                await take_all(stream)
            assert stopped.value.code == 4504
            assert carla.state is State.STOPPED
        finally:
            system.psql(f"UPDATE organization_members SET disabled_at = NULL WHERE {member}")
            # Who was locked out signs in anew: the session of before has ended with it.
            system.forget(CARLA)
        carla.sign_in(system.token(CARLA))
        await carla.wait_for_state(State.LIVE, State.NEEDS_AUTH)


def test_the_waits_of_these_tests_are_short() -> None:
    assert QUICK.lost_delay_ms(1.0) < RetryPolicy().lost_delay_ms(1.0)

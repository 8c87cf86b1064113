"""Whatever comes over one socket, the answer is a documented one, and the next socket does not notice."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import pytest
from hypothesis import given, seed
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed

from core.protocol.codes import CLOSES, REJECTIONS, CloseCode
from tests.gateways import RunningGateway, Socket, run_gateway, wait_until
from tests.properties.hostile_frames import FrameOrText, everything
from tests.properties.runs import choose_seed, thorough
from tests.servers import Database, Servers
from tests.tenants import Connection, Tenant, create_tenant, new_id

STATES = ("connected", "authenticated", "subscribed")
SENTINEL = 4_102_444_800_123
DOWNSTREAM = frozenset(
    {
        *("ready", "subscribed", "snapshot", "delta", "head", "presence", "signal", "unsubscribed"),
        *("purge", "goaway", "rejected", "pong"),
    }
)


@dataclass(slots=True)
class Stage:
    """A gateway, an organisation, and a socket that is to notice nothing."""

    runner: asyncio.Runner
    gateway: RunningGateway
    owner: Connection
    tenant: Tenant
    witness: Socket
    seen: Counter[str] = field(default_factory=Counter)
    faults: list[dict[str, Any]] = field(default_factory=list)

    async def attack(self, state: str, sent: list[FrameOrText]) -> None:
        """Send it all over a new socket, and judge every answer."""
        async with Socket.open(self.gateway.url, close_timeout=1) as attacker:
            if state != "connected":
                await attacker.authenticate(self.gateway.token(self.tenant, "ben"))
            if state == "subscribed":
                await attacker.subscribe("leads")
            has_raw = await self._send(attacker, sent)
            await self._wait_for_the_end(attacker, has_raw)
            self._judge(attacker, has_raw)
        await wait_until(lambda: len(self.gateway.gateway.server.seats) <= 1)
        assert not self.faults, self.faults

    async def _send(self, attacker: Socket, sent: list[FrameOrText]) -> bool:
        """Whether bytes were among it, after which the library's view of the connection is not the server's."""
        has_raw = False
        with contextlib.suppress(ConnectionClosed):
            for each in sent:
                if isinstance(each, bytes):
                    has_raw = True
                    attacker.connection.transport.write(each)
                else:
                    await attacker.connection.send(each)
            await attacker.send(type="ping", sent_at_ms=SENTINEL)
        return has_raw

    async def _wait_for_the_end(self, attacker: Socket, has_raw: bool) -> None:
        def is_over() -> bool:
            pongs = (each for each in attacker.messages if each["type"] == "pong")
            return attacker.closed or any(each["sent_at_ms"] == SENTINEL for each in pongs)

        try:
            await wait_until(is_over, 0.15 if has_raw else 20)
        except TimeoutError:
            # The bytes announced a frame that has not come: the gateway waits for it, as it should.
            assert has_raw, "neither an answer nor a close"
            self.seen["waits for the rest"] += 1

    def _judge(self, attacker: Socket, has_raw: bool) -> None:
        for message in attacker.messages:
            assert message["type"] in DOWNSTREAM, message
            self.seen[message["type"]] += 1
            if message["type"] == "rejected":
                self.seen[message["code"]] += 1
                assert message["reaction"] == REJECTIONS[message["code"]].reaction
                assert isinstance(message["message"], str)
        if not attacker.closed:
            return
        code = attacker.connection.close_code
        self.seen[f"closed {code}"] += 1
        if code is None or code == 1006:
            assert has_raw, "the socket broke off without a close frame"
            return
        # The client's own close codes come back to it.
        assert has_raw or code in CLOSES, code
        assert code != CloseCode.INTERNAL_ERROR

    async def check_witness(self) -> None:
        """The other socket gets its next delta, and nothing but what concerns it."""
        name = new_id()
        await self.owner.execute(
            "INSERT INTO leads (organization_id, name) VALUES ($1, $2)", self.tenant.id, name
        )
        await self.gateway.relay.publish(self.tenant)
        delta = await self.witness.next("delta")
        [change] = delta["changes"]
        assert change["fields"]["name"] == name
        assert not self.witness.closed


@pytest.fixture(scope="module")
def stage(servers: Servers, module_database: Database) -> Iterator[Stage]:
    with asyncio.Runner() as runner, contextlib.ExitStack() as exits:
        opened = contextlib.AsyncExitStack()

        async def leave() -> None:
            await opened.aclose()
            # What was aborted is closed in the loop's next turns.
            for _ in range(5):
                await asyncio.sleep(0)

        exits.callback(lambda: runner.run(leave()))

        async def enter() -> Stage:
            gateway = await opened.enter_async_context(run_gateway(module_database, servers.redis_url))
            owner = await asyncpg.connect(module_database.owner_url)
            opened.callback(owner.terminate)
            tenant = await create_tenant(owner)
            witness = await opened.enter_async_context(gateway.socket(tenant))
            await witness.subscribe("leads")
            await gateway.relay.skip(tenant)
            made = Stage(runner, gateway, owner, tenant, witness)
            asyncio.get_running_loop().set_exception_handler(lambda _, fault: made.faults.append(fault))
            return made

        made = runner.run(enter())
        yield made
        print(", ".join(f"{name}: {count}" for name, count in sorted(made.seen.items())))


def attack(stage: Stage, examples: int) -> None:
    @seed(choose_seed())
    @thorough(examples)
    @given(st.sampled_from(STATES), everything)
    def attack_once(state: str, sent: list[FrameOrText]) -> None:
        stage.runner.run(stage.attack(state, sent))
        stage.runner.run(stage.check_witness())

    attack_once()


def test_any_frame_is_answered_as_documented_and_hurts_nobody_else(stage: Stage) -> None:
    attack(stage, 60)


@pytest.mark.long
def test_thousands_of_frames_are_answered_as_documented_and_hurt_nobody_else(stage: Stage) -> None:
    attack(stage, 5_000)

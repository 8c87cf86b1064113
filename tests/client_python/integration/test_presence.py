"""Who is here, who edits what, and signals, across two gateways of the real system."""

import asyncio
from collections.abc import Callable
from typing import Any

from branchline_client import Presence, Signal, State
from tests.client_python.integration.conftest import Open, through
from tests.client_python.integration.people import ANA, BEN, RITA, VERA, within
from tests.faults.proxy import Proxy


async def until(presence: Presence, condition: Callable[[], object]) -> None:
    """Wait for news that make a condition true."""
    news = asyncio.Event()
    remove = presence.on_change(lambda update: news.set())
    while not condition():
        news.clear()
        await news.wait()
    remove()


def states(presence: Presence) -> dict[str, Any]:
    return {person.name.split()[0]: person.state for person in presence.others}


async def test_people_see_each_other_come_change_and_go(open_client: Open) -> None:
    ana, vera = await open_client(ANA), await open_client(VERA)
    async with within(), vera.presence("leads") as of_vera:
        async with ana.presence("leads") as of_ana:
            of_ana.announce({"mood": "calm"})
            await until(of_vera, lambda: states(of_vera) == {"Ana": {"mood": "calm"}})
            of_vera.announce({})
            await until(of_ana, lambda: states(of_ana) == {"Vera": {}})
            of_ana.announce({"mood": "busy"})
            await until(of_vera, lambda: states(of_vera) == {"Ana": {"mood": "busy"}})
        await until(of_vera, lambda: states(of_vera) == {})


async def test_a_lease_is_seen_by_all_whose_view_holds_the_record_and_ends(open_client: Open) -> None:
    ana, ben, rita = await open_client(ANA), await open_client(BEN), await open_client(RITA)
    async with within(), ana.presence("leads") as of_ana, rita.presence("leads") as of_rita:
        lead = ben.insert("leads", {"name": "Edited"})
        await lead.server
        async with ben.editing("leads", lead.id, "phone"):
            await until(of_ana, lambda: of_ana.editing_others(lead.id, "phone"))
            [person] = of_ana.editing_others(lead.id)
            assert person.leases[0]["version"] == 1
            # It is a record of another branch than hers.
            assert of_rita.editing_others(lead.id) == []
        await until(of_ana, lambda: not of_ana.editing_others(lead.id))


async def test_what_was_announced_is_announced_again_after_a_broken_line(
    open_client: Open, gateway_proxy: Proxy
) -> None:
    ana, vera = await open_client(ANA, gateway_url=through(gateway_proxy)), await open_client(VERA)
    async with within(), vera.presence("leads") as of_vera, ana.presence("leads") as of_ana:
        of_ana.announce({"mood": "steady"})
        await until(of_vera, lambda: states(of_vera) == {"Ana": {"mood": "steady"}})
        [broken] = of_vera.others
        gateway_proxy.reset()
        await ana.wait_for_state(State.WAITING)
        assert of_ana.people == []
        # That she was gone may be told together with her return.
        await until(
            of_vera, lambda: broken.connection_id not in {each.connection_id for each in of_vera.others}
        )
        await until(of_vera, lambda: states(of_vera) == {"Ana": {"mood": "steady"}})


async def test_a_signal_reaches_the_others_and_says_who_sent_it(open_client: Open) -> None:
    ana, ben = await open_client(ANA), await open_client(BEN)
    async with within(), ana.presence("leads") as of_ana, ben.presence("leads") as of_ben:
        arrived: asyncio.Future[Signal] = asyncio.get_running_loop().create_future()
        of_ben.on_signal(arrived.set_result)
        of_ben.announce({})
        await until(of_ana, lambda: states(of_ana) == {"Ben": {}})
        assert of_ana.signal("nudge", {"n": 1})
        signal = await arrived
        assert ana.principal is not None
        assert (signal.event, signal.payload, signal.sender["user_id"]) == (
            "nudge",
            {"n": 1},
            ana.principal.user_id,
        )


async def test_what_is_not_allowed_is_told(open_client: Open) -> None:
    ana = await open_client(ANA)
    codes: list[str] = []
    told = asyncio.Event()

    def take(code: str) -> None:
        codes.append(code)
        told.set()

    ana.on_rejected(lambda rejected: take(rejected.code))
    async with within(), ana.presence("leads") as of_ana:
        of_ana.announce({"text": "x" * 2_000})
        await told.wait()
        # Said once as it was announced and perhaps once more as the topic was subscribed to.
        assert set(codes) == {"too_large"}

"""Records that announcements are about: read once, kept up to date by the feed, and never older than what was heard."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from core.protocol.change import Record
from gateway.jobs import Jobs
from gateway.records import Records
from gateway.roster import Key
from tests.gateways import wait_until
from tests.unit.protocol.catalogue import LEAD, NORTH, SOUTH, change

KEY = ("leads", LEAD)


class Reader:
    """Reads when it is told to: each read waits for an answer."""

    def __init__(self) -> None:
        self.asked: list[Sequence[str]] = []
        self.answers: asyncio.Queue[dict[str, Record] | OSError] = asyncio.Queue()

    async def fetch(self, _: str, __: str, record_ids: Sequence[str]) -> dict[str, Record]:
        self.asked.append(record_ids)
        answer = await self.answers.get()
        if isinstance(answer, OSError):
            raise answer
        return answer

    def trim(self, _: str, whole: Record) -> Record:
        return {name: whole[name] for name in ("id", "version", "branch_id")}


class Told:
    """What was told of records."""

    def __init__(self) -> None:
        self.known: list[Key] = []
        self.failed: list[Key] = []


def make(reader: Reader, jobs: Jobs) -> tuple[Records, Told]:
    told = Told()
    return Records("o", reader, jobs, on_known=told.known.extend, on_failed=told.failed.extend), told


def at(branch: str, version: int) -> dict[str, Any]:
    return {"id": LEAD, "version": version, "branch_id": branch}


async def test_a_record_is_read_once_however_often_it_is_held() -> None:
    reader = Reader()
    async with Jobs() as jobs:
        records, told = make(reader, jobs)
        records.hold(KEY)
        records.hold(KEY)
        assert (records.is_known(KEY), records.get(KEY)) == (False, None)
        reader.answers.put_nowait({LEAD: at(NORTH, 3)})
        await wait_until(lambda: told.known)
        records.hold(KEY)
        assert records.get(KEY) == at(NORTH, 3)
        assert len(reader.asked) == 1
        for _ in range(3):
            records.let_go(KEY)
        assert (len(records), records.is_known(KEY)) == (0, False)


@pytest.mark.parametrize(("read", "heard", "branch"), [(3, 4, SOUTH), (4, 3, NORTH)])
async def test_of_what_is_read_and_what_the_feed_brings_meanwhile_the_newer_counts(
    read: int, heard: int, branch: str
) -> None:
    reader = Reader()
    async with Jobs() as jobs:
        records, told = make(reader, jobs)
        records.hold(KEY)
        await wait_until(lambda: reader.asked)
        records.changed([change(operation="update", after=at(SOUTH, heard), previous={})])
        reader.answers.put_nowait({LEAD: at(NORTH, read)})
        await wait_until(lambda: len(told.known) == 2)
        known = records.get(KEY)
        assert known is not None
        assert known["branch_id"] == branch


async def test_a_record_that_is_gone_is_known_to_be_gone() -> None:
    reader = Reader()
    async with Jobs() as jobs:
        records, told = make(reader, jobs)
        records.hold(KEY)
        reader.answers.put_nowait({})
        await wait_until(lambda: told.known)
        assert (records.is_known(KEY), records.get(KEY)) == (True, None)
        records.changed([change(after=at(NORTH, 5))])
        assert records.get(KEY) is not None
        records.changed([change(operation="delete", after=at(NORTH, 6))])
        assert (records.is_known(KEY), records.get(KEY)) == (True, None)


async def test_a_read_that_fails_is_said_and_made_again_as_long_as_the_record_is_held() -> None:
    reader = Reader()
    async with Jobs() as jobs:
        records, told = make(reader, jobs)
        records.hold(KEY)
        reader.answers.put_nowait(OSError("away"))
        await wait_until(lambda: told.failed)
        assert not records.is_known(KEY)
        reader.answers.put_nowait({LEAD: at(NORTH, 1)})
        await wait_until(lambda: told.known)
        assert len(reader.asked) == 2


async def test_what_was_read_of_another_life_of_the_log_does_not_count() -> None:
    reader = Reader()
    async with Jobs() as jobs:
        records, told = make(reader, jobs)
        records.hold(KEY)
        await wait_until(lambda: reader.asked)
        records.doubt()
        told.known.clear()
        reader.answers.put_nowait({LEAD: at(SOUTH, 9)})
        reader.answers.put_nowait({LEAD: at(NORTH, 2)})
        await wait_until(lambda: told.known)
        assert records.get(KEY) == at(NORTH, 2)

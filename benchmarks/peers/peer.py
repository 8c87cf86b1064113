"""A peer as what is measured: its processes, its addresses, and how its rows are counted where it stores any."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from benchmarks.harness.dialect import Dialect, Ticket
from benchmarks.harness.hops import Hops
from benchmarks.harness.live import Work, time_each
from benchmarks.harness.subscribers import Subscribers, Verified
from benchmarks.harness.writers import Writer, Writes, Written
from benchmarks.peers.processes import fetch_ids


@dataclass(frozen=True, slots=True)
class Peer:
    """A system that runs. `ids` is where and by which statement its rows are read; None where it stores nothing."""

    name: str
    api_url: str
    gateway_url: str
    dialect: Callable[[], Dialect]
    pids: Mapping[str, int]
    path: str = "/api/leads"
    headers: tuple[tuple[str, str], ...] = ()
    ids: tuple[str, str] | None = None
    id_field: str = "id"

    def processes(self) -> dict[str, int]:
        """Those that were started."""
        return dict(self.pids)

    async def prepare(self, work: Work) -> tuple[Subscribers, Writes]:
        """It has no people: everybody may do everything."""
        tickets = tuple(Ticket("bench", str(number), work.topic) for number in range(work.subscribers))
        listen = Subscribers((self.gateway_url,), (tickets,), time_each(work), self.dialect)
        return listen, Writes(
            self.api_url,
            (Writer("none", "00000000-0000-4000-8000-000000000000"),),
            work.writes_per_second,
            record_bytes=work.record_bytes,
            connections=256 if work.writes_per_second else work.connections,
            path=self.path,
            headers=self.headers,
            id_field=self.id_field,
        )

    async def fetch_offsets(self, written: Written) -> list[int]:
        """A number for each acknowledged write, in the order in which they arrive."""
        return list(range(1, written.acknowledged + 1))

    async def find_faults(self, written: Written, verified: Verified) -> list[str]:
        """Hold what was delivered, and what is stored, against what was acknowledged."""
        acknowledged = set(written.record_ids)
        faults = [
            f"{len(acknowledged ^ records.keys())} records were written and not delivered, or the reverse"
            for records in verified.records
            if records.keys() != acknowledged
        ]
        if self.ids is not None and await fetch_ids(*self.ids) != acknowledged:
            faults.append("its rows in PostgreSQL are not what was acknowledged")
        return faults

    async def read_hops(self) -> Hops:
        """It says nothing of them."""
        return Hops({}, {})

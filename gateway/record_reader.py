"""Reads single records from PostgreSQL, no more of them than says who may see them."""

from collections.abc import Callable, Sequence

import orjson

from core.database import Pool, scoped
from core.protocol.change import Record
from core.protocol.collection import Catalogue
from core.protocol.view import BRANCH
from gateway.page import quote_identifier

_RECORDS = """
SELECT encode_record(t.*)::text AS record FROM public.{collection} t
WHERE t.organization_id = $1 AND t.id = ANY($2::uuid[])
"""


class RecordReader:
    """Reads through a pool. `catalogue` says at each use which fields there are."""

    def __init__(self, pool: Pool, catalogue: Callable[[], Catalogue]) -> None:
        self._pool = pool
        self._catalogue = catalogue

    async def fetch(
        self, organization_id: str, collection: str, record_ids: Sequence[str]
    ) -> dict[str, Record]:
        """Give those of these records that there are, by id, trimmed. Raises one of READ_ERRORS."""
        if collection not in self._catalogue().collections:
            return {}
        statement = _RECORDS.replace("{collection}", quote_identifier(collection))
        async with scoped(self._pool, organization_id) as connection:
            rows = await connection.fetch(statement, organization_id, record_ids)
        records = [orjson.loads(row["record"]) for row in rows]
        return {record["id"]: self.trim(collection, record) for record in records}

    def trim(self, collection: str, record: Record) -> Record:
        """Leave what a view's filters and branches look at."""
        found = self._catalogue().collections.get(collection)
        names = [] if found is None else [each.name for each in found.fields.values() if each.filterable]
        return {name: record[name] for name in ("id", "version", BRANCH, *names) if name in record}

"""What a write to a membership gives: nobody gives branches or reads that they do not have, nor a branch that is none
of the organisation's.
"""

from collections.abc import Collection
from typing import Literal

from api.validation import FieldFault, describe
from core.database import Connection, Pool, scoped
from core.principal import Principal
from core.protocol.mutation import Mutation
from core.queries import load

_queries = load("api", "queries.sql")


async def are_branches(
    connection: Connection, organization_id: str, branch_ids: Collection[str | None]
) -> bool:
    """Whether all of these are branches of the organisation, whose scope the connection is in."""
    distinct = set(branch_ids)
    count = await connection.fetchval(_queries.count_branches, organization_id, list(distinct))
    return bool(count == len(distinct))


async def refused_gift(
    pool: Pool, principal: Principal, mutation: Mutation
) -> tuple[Literal["forbidden", "invalid"], FieldFault] | None:
    """Why a mutation of a membership gives what it may not: the problem's code, and the field. None for all others."""
    if mutation.collection != "organization_members":
        return None
    fields = mutation.fields
    if "reads" in fields and not principal.gives_reads(fields["reads"]):
        return "forbidden", FieldFault("reads", "own, as you read yourself", describe(fields["reads"]))
    if "branch_ids" in fields:
        branches = fields["branch_ids"]
        if not principal.gives_branches(branches):
            return "forbidden", FieldFault("branch_ids", "branches that are yours", describe(branches))
        if branches:
            async with scoped(pool, principal.organization_id) as connection:
                if not await are_branches(connection, principal.organization_id, branches):
                    return "invalid", FieldFault("branch_ids", "ids of the organisation's branches", "others")
    return None

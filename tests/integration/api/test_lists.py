"""Lists over HTTP: order, filters, pages, cursors, entity tags."""

import base64
import itertools
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from api.listing import SORTABLE_TYPES
from tests.integration.api.conftest import Api, create, problem
from tests.tenants import Connection, Tenant, new_id

NAMES = [
    "Zoë",
    "zoe",
    "Émile",
    "emil",
    "Ångström",
    "Angstrom 2",
    "ß",
    "ss",
    "10",
    "9",
    "Ada",
    "ada",
    "Ω",
    "ﬁn",
]


async def pages(client: httpx.AsyncClient, path: str) -> list[dict[str, Any]]:
    """All items of a list, page by page along the Link header."""
    items: list[dict[str, Any]] = []
    following: str | None = path
    for _ in range(100):
        assert following is not None
        response = await client.get(following)
        assert response.status_code == 200, response.text
        body = response.json()
        items.extend(body["items"])
        following = response.links["next"]["url"] if "next" in response.links else None
        assert (following is None) == (body["next_cursor"] is None)
        if following is None:
            return items
    raise AssertionError("the list does not end")


@pytest.fixture
async def many(ana: httpx.AsyncClient) -> list[dict[str, Any]]:
    """Leads with names that are hard to sort, and fields that are null in some of them."""
    values = itertools.cycle(["10.00", None, "9.50", "9.50", None, "-0.00"])
    made = []
    for number, name in enumerate(NAMES):
        fields: dict[str, Any] = {"name": name, "estimated_value": next(values)}
        if number % 3:
            fields["company"] = f"company {number % 4}"
            fields["score"] = number % 5
            fields["next_step_at"] = f"2026-01-{number + 1:02d}T00:00:00Z"
        fields["status"] = ["new", "contacted", "qualified", "won", "lost"][number % 5]
        made.append(await create(ana, **fields))
    return made


SORTS = [
    "id",
    "name",
    "company",
    "score",
    "estimated_value",
    "status",
    "next_step_at",
    "updated_at",
    "version",
]


@pytest.mark.parametrize("limit", [1, 3, 200])
@pytest.mark.parametrize("sort", [each for name in SORTS for each in (name, f"-{name}")])
async def test_pages_add_up_to_the_whole_list_in_order(
    ana: httpx.AsyncClient,
    owner: Connection,
    tenant: Tenant,
    many: list[dict[str, Any]],
    sort: str,
    limit: int,
) -> None:
    name, way = sort.removeprefix("-"), "DESC" if sort.startswith("-") else "ASC"
    key = f"sort_key({name})" if name in ("name", "company") else name
    rows = await owner.fetch(
        f"SELECT id FROM leads WHERE organization_id = $1 ORDER BY {key} {way} NULLS LAST, id {way}",
        tenant.id,
    )
    found = await pages(ana, f"/api/leads?sort={sort}&limit={limit}")
    assert [each["id"] for each in found] == [str(row["id"]) for row in rows]
    assert len(found) == len(many)


async def test_a_list_without_parameters_is_the_first_fifty_by_id(ana: httpx.AsyncClient) -> None:
    made = [(await create(ana, name=f"lead {number}"))["id"] for number in range(51)]
    body = (await ana.get("/api/leads")).json()
    assert [each["id"] for each in body["items"]] == sorted(made)[:50]
    assert body["offset"] >= 51
    assert body["epoch"]


async def test_filters_are_equalities_with_alternatives_and_null(
    ana: httpx.AsyncClient, many: list[dict[str, Any]], tenant: Tenant
) -> None:
    async def count(query: str) -> int:
        return len((await ana.get(f"/api/leads?{query}")).json()["items"])

    statuses = [each["status"] for each in many]
    assert await count("status=new") == statuses.count("new")
    assert await count("status=new,won") == statuses.count("new") + statuses.count("won")
    assert await count("branch_id=~") == len(many)
    assert await count(f"branch_id={tenant.branches['north']},~") == len(many)
    assert await count(f"branch_id={tenant.branches['north']}") == 0
    assert await count(f"id={many[0]['id'].upper()}") == 1
    assert await count(f"status=new&id={many[0]['id']}") == 1


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("status=sold", "status"),
        ("name=Ada", "name"),
        ("colour=red", "colour"),
        ("branch_id=17", "branch_id"),
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("limit=ten", "limit"),
        ("limit=", "limit"),
        ("limit=5&limit=6", "limit"),
        ("sort=colour", "sort"),
        ("sort=", "sort"),
        ("sort=name,-score", "sort"),
        ("status=%00", "status"),
        ("organization_id=~", "organization_id"),
    ],
)
async def test_a_parameter_that_means_nothing_is_422_and_named(
    ana: httpx.AsyncClient, query: str, field: str
) -> None:
    answer = problem(await ana.get(f"/api/leads?{query}"), 422, "invalid")
    assert [fault["field"] for fault in answer["errors"]] == [field]
    assert answer["detail"] == f"see errors for {field}"


async def test_a_filter_given_twice_is_422(ana: httpx.AsyncClient) -> None:
    problem(await ana.get("/api/leads?status=new&status=won"), 422, "invalid")


async def test_a_cursor_goes_with_its_query_and_no_other(
    ana: httpx.AsyncClient, many: list[dict[str, Any]]
) -> None:
    cursor = (await ana.get("/api/leads?sort=name&limit=2")).json()["next_cursor"]
    assert (await ana.get(f"/api/leads?sort=name&limit=7&cursor={cursor}")).status_code == 200
    for path in (
        f"/api/leads?cursor={cursor}",
        f"/api/leads?sort=-name&cursor={cursor}",
        f"/api/leads?sort=name&status=new&cursor={cursor}",
        f"/api/clients?sort=name&cursor={cursor}",
        f"/api/leads/{many[0]['id']}/history?cursor={cursor}",
    ):
        problem(await ana.get(path), 400, "cursor_malformed")


async def test_another_organisations_cursor_is_403(
    api: Api, ana: httpx.AsyncClient, other: Tenant, many: list[dict[str, Any]]
) -> None:
    cursor = (await ana.get("/api/leads?limit=2")).json()["next_cursor"]
    problem(await api.client(other).get(f"/api/leads?limit=2&cursor={cursor}"), 403, "cursor_foreign")


async def test_a_bent_cursor_is_400(ana: httpx.AsyncClient, many: list[dict[str, Any]]) -> None:
    cursor = (await ana.get("/api/leads?limit=2")).json()["next_cursor"]
    raw = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
    bent = base64.urlsafe_b64encode(raw[:5] + b"!" + raw[6:]).decode().rstrip("=")
    for text in ("", "x", "a" * 5000, "%00", bent, cursor[:-1], cursor + "A", cursor + "=", "🦊"):
        problem(await ana.get("/api/leads", params={"limit": 2, "cursor": text}), 400, "cursor_malformed")


async def test_records_that_come_and_go_between_pages_neither_double_nor_hide_the_others(
    ana: httpx.AsyncClient, many: list[dict[str, Any]]
) -> None:
    first = await ana.get("/api/leads?sort=name&limit=4")
    seen = [each["id"] for each in first.json()["items"]]
    await ana.delete(f"/api/leads/{seen[-1]}")  # the very record that the cursor stands on
    await create(ana, name="!before everything")
    rest = await pages(ana, first.links["next"]["url"])
    ids = seen + [each["id"] for each in rest]
    assert len(set(ids)) == len(ids) == len(many)


async def test_an_unchanged_list_is_304_and_a_changed_one_is_not(
    api: Api, ana: httpx.AsyncClient, tenant: Tenant, many: list[dict[str, Any]]
) -> None:
    first = await ana.get("/api/leads?limit=5")
    tag = {"if-none-match": first.headers["etag"]}
    assert first.headers["etag"].startswith('W/"')
    again = await ana.get("/api/leads?limit=5", headers=tag)
    assert (again.status_code, again.content) == (304, b"")
    # Another query, and another view of the same records, are other answers.
    assert (await ana.get("/api/leads?limit=6", headers=tag)).status_code == 200
    assert (await api.client(tenant, "rita").get("/api/leads?limit=5", headers=tag)).status_code == 200
    await create(ana, name="new")
    assert (await ana.get("/api/leads?limit=5", headers=tag)).status_code == 200


async def test_the_link_repeats_the_query(ana: httpx.AsyncClient, many: list[dict[str, Any]]) -> None:
    response = await ana.get("/api/leads?status=won,new&sort=-name&limit=2")
    query = parse_qs(urlsplit(response.links["next"]["url"]).query)
    assert query["status"] == ["new,won"]
    assert query["sort"] == ["-name"]
    assert query["limit"] == ["2"]


async def test_long_texts_are_sorted_by_their_beginning_and_paged(
    ana: httpx.AsyncClient, tenant: Tenant
) -> None:
    made = [await create(ana, name="x", notes=prefix + "ö" * 5000) for prefix in ("c", "a", "b")]
    found = await pages(ana, "/api/leads?sort=notes&limit=1")
    assert [each["notes"][0] for each in found] == ["a", "b", "c"]
    assert len(found) == len(made)


async def test_every_collection_is_listed_by_every_order_and_filter(
    api: Api, owner: Connection, tenant: Tenant
) -> None:
    """Every statement that the catalogue can lead to is one that PostgreSQL takes."""
    await owner.execute(
        "UPDATE organization_members SET role = 'owner' WHERE organization_id = $1 AND user_id = $2",
        tenant.id,
        tenant.people["ana"],
    )
    ana = api.client(tenant)
    samples = {"uuid": new_id(), "boolean": "true", "date": "2026-11-21", "integer": "5", "text": "x"}
    for collection in api.services.watcher.current.collections.values():
        for field in collection.fields.values():
            if field.type in SORTABLE_TYPES:
                for sort in (field.name, f"-{field.name}"):
                    response = await ana.get(f"/api/{collection.name}?sort={sort}&limit=1")
                    assert response.status_code == 200, (collection.name, sort, response.text)
                    if "next" in response.links:
                        assert (await ana.get(response.links["next"]["url"])).status_code == 200
            if field.filterable:
                value = field.enum_values[0] if field.enum_values else samples[field.type]
                response = await ana.get(f"/api/{collection.name}?{field.name}={value},~")
                assert response.status_code == 200, (collection.name, field.name, response.text)

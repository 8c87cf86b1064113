"""The SQL twins of core.clock and core.sort_key, held to the same vectors."""

import json
from pathlib import Path

from tests.tenants import Connection

VECTORS = Path(__file__).parents[1] / "vectors"


async def test_next_clock(owner: Connection) -> None:
    for case in json.loads((VECTORS / "clock.json").read_text())["tick"]:
        found = await owner.fetchval("SELECT next_clock($1, $2)", case["stored"], case["now_ms"])
        assert found == case["next"] + "-00000000-0000-0000-0000-000000000000"


async def test_clocks_sort_by_code_point(owner: Connection) -> None:
    expected = json.loads((VECTORS / "clock.json").read_text())["sorted"]
    found = await owner.fetch('SELECT c FROM unnest($1::text[]) c ORDER BY c COLLATE "C"', expected[::-1])
    assert [row["c"] for row in found] == expected


async def test_merge_fields(owner: Connection) -> None:
    for case in json.loads((VECTORS / "merge.json").read_text()):
        row = await owner.fetchrow(
            "SELECT m.winners::text, m.lost::text, m.overwrote::text, m.clocks::text"
            " FROM merge_fields($1::text::jsonb, $2::text::jsonb, $3::text::jsonb, $4, $5, $6::text::uuid, $7) m",
            json.dumps(case["record"]),
            json.dumps(case["clocks"]),
            json.dumps(case["fields"]),
            case["clock"],
            case["base_version"],
            case["author"],
            case["version"],
        )
        assert row is not None
        found = [json.loads(value) if value is not None else [] for value in row]
        assert found == [case["winners"], case["lost"], case["overwrote"], case["clocks_after"]], case["name"]


async def test_sort_key(owner: Connection) -> None:
    vectors = json.loads((VECTORS / "sort_key.json").read_text())
    for text, key in vectors["keys"].items():
        assert await owner.fetchval("SELECT sort_key($1)", text) == key, text
    found = await owner.fetch(
        "SELECT t FROM unnest($1::text[]) t ORDER BY sort_key(t)", vectors["sorted"][::-1]
    )
    assert [row["t"] for row in found] == vectors["sorted"]

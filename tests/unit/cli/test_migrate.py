"""Which migrations are to be applied, and when none may be."""

from pathlib import Path

import pytest

from cli.migrate import (
    AppliedMigration,
    Migration,
    application_password,
    migrations_folder,
    pending_migrations,
    read_migrations,
)
from core.lifecycle import StartupError
from core.settings import Settings

FIRST, SECOND = Migration(1, "initial", "create table a ()"), Migration(2, "more", "create table b ()")


def applied(migration: Migration) -> AppliedMigration:
    return AppliedMigration(migration.number, migration.name, migration.sha256)


def test_what_has_not_been_applied_is_pending_in_order() -> None:
    assert pending_migrations([FIRST, SECOND], []) == [FIRST, SECOND]
    assert pending_migrations([FIRST, SECOND], [applied(FIRST)]) == [SECOND]
    assert pending_migrations([FIRST, SECOND], [applied(FIRST), applied(SECOND)]) == []


def test_a_database_that_is_newer_than_the_code_is_refused() -> None:
    with pytest.raises(StartupError, match="newer than this program: it has migration 0002-more"):
        pending_migrations([FIRST], [applied(FIRST), applied(SECOND)])


def test_a_file_that_was_changed_after_it_was_applied_is_refused() -> None:
    changed = Migration(1, "initial", "create table a (id uuid)")
    with pytest.raises(StartupError, match="0001-initial was applied to this database with other content"):
        pending_migrations([changed, SECOND], [applied(FIRST)])


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([], "no file"),
        (["0002-second.sql"], "0002-second"),
        (["0001-a.sql", "0001-b.sql"], "0001-a, 0001-b"),
        (["0001-a.sql", "0003-c.sql"], "0001-a, 0003-c"),
        (["1-a.sql"], "not named like"),
    ],
)
def test_gaps_doubles_and_strange_names_are_refused(tmp_path: Path, names: list[str], expected: str) -> None:
    for name in names:
        tmp_path.joinpath(name).write_text("select 1")
    with pytest.raises(StartupError, match=expected):
        read_migrations(tmp_path)


def test_the_migrations_of_this_version_are_found() -> None:
    migrations = read_migrations(migrations_folder())
    assert str(migrations[0]) == "0001-initial"


def test_the_application_role_gets_the_password_of_its_url_in_development_only() -> None:
    url = "postgresql://branchline_app:p%40ss@db/branchline"
    assert application_password(Settings(database_url=url)) == "p@ss"
    assert application_password(Settings(database_url=url, env="production")) is None
    assert application_password(Settings(database_url="postgresql://somebody:pass@db/x")) is None

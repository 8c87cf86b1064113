"""Publications hold whole transactions, in pages where they are large, and only what a reader can read."""

import pytest

from core.protocol.publication import MAX_PUBLICATION_BYTES, Publication
from gateway.relay.backlog import Backlog, Part, Progress
from gateway.relay.bundle import BUNDLE_BYTES, Bundled, Bundler, Sender, UnreadableChangeError, group
from tests.unit.relay.commits import commits, organization, publications, read

SENDER = Sender(shard=0, term=7, epoch="e")
KILOBYTE = 1024


def bundle(
    bundler: Bundler, progress: Progress, parts: list[Part], size_bytes: int = 0
) -> tuple[list[Publication], Bundled]:
    (whole,) = group(parts, read(parts, size_bytes))
    bundled = bundler.bundle(progress, whole, now_ms=5)
    return publications(bundled.outgoing), bundled


def whole_parts(*sizes: int) -> list[Part]:
    return [Part(commit, 0, commit.size) for commit in commits(1, *sizes)]


def progress_at(published: int = 0, taken: int = 0) -> Progress:
    return Progress(organization(1), published=published, read=taken)


def test_small_transactions_go_together() -> None:
    (publication,), bundled = bundle(Bundler(SENDER), progress_at(), whole_parts(1, 2, 1))
    assert (publication.from_offset, publication.to_offset, publication.more) == (0, 4, False)
    assert [change.offset for change in publication.changes] == [1, 2, 3, 4]
    assert [change.last_of_commit for change in publication.changes] == [1, 3, 3, 4]
    assert (publication.shard, publication.term, publication.epoch) == (0, 7, "e")
    assert (bundled.published, bundled.read) == (4, 0)
    assert len(bundled.outgoing[0].committed) == 3


def test_a_publication_of_several_transactions_stays_small() -> None:
    parts = whole_parts(*[1] * 100)
    out, bundled = bundle(Bundler(SENDER), progress_at(), parts, size_bytes=2 * KILOBYTE)
    assert len(out) > 1
    assert all(len(each.body) <= BUNDLE_BYTES + KILOBYTE for each in bundled.outgoing)
    assert [(each.from_offset, each.to_offset) for each in out] == ranges(out)
    assert out[-1].to_offset == 100
    assert all(each.page == 0 and not each.more for each in out)


def ranges(out: list[Publication]) -> list[tuple[int, int]]:
    """What the ranges must be for each to begin where the one before it ended."""
    ends = [each.to_offset for each in out]
    return list(zip([0, *ends], ends, strict=False))


def test_a_transaction_below_the_limit_is_one_publication() -> None:
    out, _ = bundle(Bundler(SENDER), progress_at(), whole_parts(1, 100, 1), size_bytes=2 * KILOBYTE)
    assert [(each.from_offset, each.to_offset, each.more) for each in out] == [
        (0, 1, False),
        (1, 101, False),
        (101, 102, False),
    ]


def test_a_large_transaction_comes_in_pages_with_one_range() -> None:
    out, bundled = bundle(Bundler(SENDER), progress_at(), whole_parts(1, 300, 1), size_bytes=4 * KILOBYTE)
    pages = [each for each in out if each.to_offset == 301]
    assert [each.page for each in pages] == list(range(len(pages)))
    assert len(pages) > 1
    assert [each.more for each in pages] == [True] * (len(pages) - 1) + [False]
    assert {(each.from_offset, each.to_offset) for each in pages} == {(1, 301)}
    assert [change.offset for each in out for change in each.changes] == list(range(1, 303))
    assert all(len(each.body) <= MAX_PUBLICATION_BYTES + KILOBYTE for each in bundled.outgoing)


def test_a_transaction_that_is_read_in_parts_has_the_same_pages() -> None:
    (commit,) = commits(1, 300)
    bundler, progress = Bundler(SENDER), progress_at()
    pages: list[Publication] = []
    for after in range(0, 300, 50):
        out, bundled = bundle(bundler, progress, [Part(commit, after, after + 50)], 4 * KILOBYTE)
        pages += out
        progress.published, progress.read = bundled.published, bundled.read
    at_once, _ = bundle(Bundler(SENDER), progress_at(), [Part(commit, 0, 300)], 4 * KILOBYTE)
    assert pages == at_once
    assert (progress.published, progress.read) == (300, 0)


def test_a_small_transaction_that_is_read_in_parts_is_one_publication() -> None:
    (commit,) = commits(1, 30)
    bundler, progress = Bundler(SENDER), progress_at()
    first, bundled = bundle(bundler, progress, [Part(commit, 0, 20)])
    assert first == []
    progress.published, progress.read = bundled.published, bundled.read
    assert (progress.published, progress.read) == (0, 20)
    (second,), _ = bundle(bundler, progress, [Part(commit, 20, 30)])
    assert (second.from_offset, second.to_offset, second.page, second.more) == (0, 30, 0, False)
    assert len(second.changes) == 30


def test_a_change_above_the_limit_has_a_page_of_its_own() -> None:
    out, _ = bundle(Bundler(SENDER), progress_at(), whole_parts(3), size_bytes=2 * MAX_PUBLICATION_BYTES)
    assert [len(each.changes) for each in out] == [1, 1, 1]
    assert [each.more for each in out] == [True, True, False]


def test_reading_that_stopped_at_its_limit_goes_on_where_it_stopped() -> None:
    parts = whole_parts(2, 4, 2)
    rows = read(parts)[:4]
    (found,) = group(parts, rows)
    bundled = Bundler(SENDER).bundle(progress_at(), found, now_ms=0)
    assert (bundled.published, bundled.read) == (2, 2)


def test_organisations_are_kept_apart() -> None:
    parts = [Part(commit, 0, commit.size) for number in (1, 2) for commit in commits(number, 1, 1)]
    groups = list(group(parts, read(parts)))
    assert [{part.commit.organization_id for part, _ in found} for found in groups] == [
        {organization(1)},
        {organization(2)},
    ]


@pytest.mark.parametrize("missing", [0, 1, 3])
def test_a_change_that_is_not_in_the_log_is_noticed(missing: int) -> None:
    parts = whole_parts(2, 3)
    rows = read(parts)
    del rows[missing]
    with pytest.raises(UnreadableChangeError, match="is not in the log"):
        list(group(parts, rows))


def test_no_change_at_all_is_noticed() -> None:
    with pytest.raises(UnreadableChangeError, match="is not in the log"):
        list(group(whole_parts(1), []))


@pytest.mark.parametrize("poison", [r'"\ud800"', "1e400", "[" * 2000 + "]" * 2000])
def test_what_no_reader_takes_is_not_published(poison: str) -> None:
    """All of them are valid to PostgreSQL's json."""
    parts = whole_parts(1)
    (row,) = read(parts)
    (found,) = group(parts, [(row[0], row[1], row[2].replace('"notes":""', f'"notes":{poison}'))])
    with pytest.raises(UnreadableChangeError):
        Bundler(SENDER).bundle(progress_at(), found, now_ms=0)


def test_after_a_failure_a_transaction_begins_again_with_its_first_page() -> None:
    (commit,) = commits(1, 200)
    bundler = Bundler(SENDER)
    bundle(bundler, progress_at(), [Part(commit, 0, 100)], 4 * KILOBYTE)
    bundler.forget(organization(1))
    out, _ = bundle(bundler, progress_at(), [Part(commit, 0, 100)], 4 * KILOBYTE)
    assert out[0].page == 0
    assert out[0].changes[0].offset == 1


def test_a_marker_completes_its_range_without_changes() -> None:
    backlog = Backlog()
    backlog.note(commits(1, 3), now=0.0)
    marker = Bundler(SENDER).marker(backlog.of(organization(1)), 0, 3, now_ms=9)
    (publication,) = publications([marker])
    assert publication.unreadable
    assert (publication.from_offset, publication.to_offset, publication.changes) == (0, 3, ())

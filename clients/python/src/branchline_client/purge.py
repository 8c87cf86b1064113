"""What is done when access is lost (N6): what is kept goes, what is queued is put aside."""

from collections.abc import Callable, Iterable, Sequence

from branchline_client.cache_writer import CacheWriter
from branchline_client.live import LiveCollection
from branchline_client.mutation import Mutation
from branchline_client.subscriptions import TopicSpec
from branchline_client.topic import admits, covers
from branchline_client.writer import Writer

ACCESS_LOST = "access_lost"


async def forget_topics(
    topics: set[str],
    specs: Iterable[TopicSpec],
    lives: Iterable[LiveCollection],
    cache_writer: CacheWriter,
    writer: Writer,
) -> None:
    """Forget what is kept of `topics`, as the server writes them; `specs` are those of them that are followed here."""
    names = topics | {spec.topic for spec in specs}
    collections = {spec.collection for spec in specs} | {topic.partition("?")[0] for topic in topics}
    affected = [live for live in lives if live.spec.topic in names]
    concerned = concerned_by(topics, affected)
    for live in affected:
        live.purge()
    await cache_writer.forget(names, collections)
    await writer.set_aside(concerned, ACCESS_LOST, "access to this record was lost")


def concerned_by(topics: set[str], lives: Sequence[LiveCollection]) -> Callable[[Mutation], bool]:
    """Give the test for writes of records that some topics show, as far as this client can tell."""
    shown = {(live.spec.collection, record_id) for live in lives for record_id in live.view.visible}

    def concerns(mutation: Mutation) -> bool:
        return (
            mutation.key in shown
            or any("?" not in topic and covers(topic, mutation.collection, mutation.id) for topic in topics)
            or any(
                live.spec.collection == mutation.collection and admits(live.spec.conditions, mutation.fields)
                for live in lives
                if mutation.operation == "insert"
            )
        )

    return concerns

"""The roster: who is here, and who is not any longer."""

import pytest

from gateway.roster import About, Entry, Person, Roster

HERE, THERE = "here", "there"


def entry(
    connection: str = "c",
    topic: str = "leads",
    gateway: str = HERE,
    about: About | None = None,
    **state: object,
) -> Entry:
    return Entry(gateway, Person(connection, "u", "Ana", None), topic, state, about)


def test_an_entry_is_there_from_put_to_drop() -> None:
    roster = Roster(HERE, 10)
    assert roster.put(entry(), 0) is None
    assert roster.get("c", "leads") == entry()
    assert roster.drop(HERE, "c", "leads") == entry()
    assert roster.drop(HERE, "c", "leads") is None
    assert (len(roster), list(roster.concerning("leads", "leads", None))) == (0, [])


def test_what_has_not_changed_is_given_back_and_what_has_gives_what_was() -> None:
    roster = Roster(HERE, 10)
    first = entry(mood="calm")
    roster.put(first, 0)
    assert roster.put(entry(mood="calm"), 1) is first
    assert roster.put(entry(mood="busy"), 2) == first
    assert len(roster) == 1


def test_a_socket_takes_all_of_its_entries_with_it_and_no_others() -> None:
    roster = Roster(HERE, 10)
    for each in (entry("c", "leads"), entry("c", "deals"), entry("d", "leads")):
        roster.put(each, 0)
    assert {each.topic for each in roster.drop_connection(HERE, "c")} == {"leads", "deals"}
    assert list(roster.own()) == [entry("d", "leads")]


def test_others_entries_expire_unless_they_are_told_again_and_ours_do_not() -> None:
    roster = Roster(HERE, 10)
    roster.put(entry("ours"), 0)
    roster.put(entry("late", gateway=THERE), 0)
    roster.put(entry("fresh", gateway=THERE), 0)
    roster.put(entry("fresh", gateway=THERE), 5)
    assert [each.connection_id for each in roster.expire(3)] == ["late"]
    assert roster.expire(3) == []
    assert [each.connection_id for each in roster.expire(6)] == ["fresh"]
    assert len(roster) == 1


def test_a_gateway_ends_its_own_entries_only() -> None:
    roster = Roster(HERE, 10)
    roster.put(entry(), 0)
    assert roster.drop(THERE, "c", "leads") is None
    with pytest.raises(ValueError, match="holds the connection"):
        roster.put(entry(gateway=THERE), 0)
    assert list(roster.own()) == [entry()]


def test_a_full_roster_takes_changes_and_nobody_new() -> None:
    roster = Roster(HERE, 1)
    roster.put(entry(mood="calm"), 0)
    roster.put(entry(mood="busy"), 0)
    with pytest.raises(ValueError, match="at most 1"):
        roster.put(entry("d"), 0)
    # What was refused leaves nothing that could expire.
    with pytest.raises(ValueError, match="at most 1"):
        roster.put(entry("d", gateway=THERE), 0)
    assert roster.expire(1) == []


def test_leases_are_found_by_what_a_topic_may_contain() -> None:
    roster = Roster(HERE, 10)
    roster.put(entry("plain", "deals"), 0)
    roster.put(entry("lease", "leads/1", about=About("leads", "1", "name", is_lease=True)), 0)
    roster.put(entry("visit", "leads/1", about=About("leads", "1")), 0)
    assert set(roster.concerning("leads", "leads", None)) == {"lease"}
    assert set(roster.concerning("leads/1", "leads", "1")) == {"lease", "visit"}
    assert set(roster.concerning("leads/2", "leads", "2")) == set()
    assert set(roster.concerning("*", None, None)) == {"lease"}
    assert set(roster.concerning("deals", "deals", None)) == {"plain"}
    for each in (("lease", "leads/1"), ("visit", "leads/1"), ("plain", "deals")):
        roster.drop(HERE, *each)
    assert vars(roster) == vars(Roster(HERE, 10))


def test_what_was_announced_last_is_last() -> None:
    roster = Roster(HERE, 10)
    for topic, mood in (("leads", 1), ("deals", 1), ("leads", 2)):
        roster.put(entry(topic=topic, mood=mood), 0)
    assert [each.topic for each in roster.of_connection("c")] == ["deals", "leads"]

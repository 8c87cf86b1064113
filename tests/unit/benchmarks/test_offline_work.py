"""What branches bring along is a mix from a seed, and what must come of it is folded by clocks."""

from typing import Any

from benchmarks.harness.offline_work import Asked, Branch, Desk, Mix


def accept(asked: Asked, **more: Any) -> dict[str, Any]:
    mutation = asked.mutation
    return {"mutation_id": mutation["mutation_id"], "status": "applied", "clock": mutation["clock"], **more}


def drawn(mix: Mix, count: int) -> tuple[Desk, list[Asked]]:
    """So many mutations of one branch, each answered as it must be before the next is drawn."""
    desk = Desk("branch", mix, seed=7)
    branch = Branch(desk)
    all_of_them = []
    for _ in range(count):
        _, (asked,) = branch.draw(1)
        status = "applied" if "applied" in asked.expected else min(asked.expected)
        branch.settle([asked], [accept(asked, status=status)])
        all_of_them.append(asked)
    return desk, all_of_them


def test_the_mix_is_that_asked_for_and_the_same_for_the_same_seed() -> None:
    mix = Mix(insert_share=0.4, late_share=0.1, repeat_share=0.2, bad_each=50)
    desk, asked = drawn(mix, 2_000)
    assert desk.folded.faults == {}
    inserts = sum(each.mutation["operation"] == "insert" for each in asked)
    repeats = sum("duplicate" in each.expected for each in asked)
    refused = sum("rejected" in each.expected for each in asked)
    assert refused == 40
    assert 0.12 < repeats / 2_000 < 0.28
    assert 0.3 < inserts / 2_000 < 0.6
    operations = [(each.mutation["operation"], sorted(each.expected)) for each in asked]
    assert operations == [
        (each.mutation["operation"], sorted(each.expected)) for each in drawn(mix, 2_000)[1]
    ]


def test_a_clock_never_goes_back_but_for_late_edits() -> None:
    _, asked = drawn(Mix(late_share=0, repeat_share=0), 500)
    clocks = [each.mutation["clock"] for each in asked]
    assert clocks == sorted(set(clocks))


def test_of_a_field_the_latest_clock_stands_in_whatever_order_the_answers_come() -> None:
    desk = Desk("branch", Mix(), seed=1)
    branch = Branch(desk)
    _, (insert,) = branch.draw(1)
    desk.settle(insert, accept(insert, clock="2"))
    record = insert.mutation["id"]

    def edit(mutation_id: str, name: str, value: str) -> Asked:
        fields = {name: value}
        mutation = {
            "mutation_id": mutation_id,
            "id": record,
            "operation": "update",
            "fields": fields,
            "clock": "",
        }
        return Asked(mutation, frozenset({"applied", "merged"}))

    later, earlier = edit("m1", "phone", "later"), edit("m2", "phone", "earlier")
    before = edit("m3", "email", "before the insert")
    desk.settle(later, accept(later, clock="4"))
    desk.settle(earlier, accept(earlier, clock="3"))
    desk.settle(before, accept(before, status="merged", clock="1", lost=[{"field": "email"}]))
    fields = desk.folded.fields[record]
    assert (fields["phone"][0], fields["email"][0]) == ("later", None)
    assert desk.folded.logged == {insert.mutation["mutation_id"], "m1", "m2"}
    assert desk.folded.remembered == 4


def test_an_answer_that_was_not_due_is_a_fault() -> None:
    desk = Desk("branch", Mix(), seed=1)
    branch = Branch(desk)
    _, asked = branch.draw(2)
    branch.settle(asked, [accept(asked[0], status="rejected"), accept(asked[1], mutation_id="another's")])
    branch.settle(asked, [])
    assert desk.folded.faults == {
        "answered rejected": 1, "answered applied": 1, "2 mutations had 0 results": 1,
    }  # fmt: skip

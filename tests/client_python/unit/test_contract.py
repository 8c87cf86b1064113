"""clients/CONTRACT.md says what the code does: its tables are the code's own, and the machine is total and sound."""

import pytest

from branchline_client.states import TABLE, Action, Event, State, step
from tests.client_python.contract import DOCUMENT, with_tables

WITH_SOCKET = {State.AUTHENTICATING, State.LIVE, State.LEAVING}


def test_the_documents_tables_are_the_codes() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert text == with_tables(text), "run `python -m tests.client_python.contract`"


def test_every_state_answers_every_event() -> None:
    assert TABLE.keys() == set(State)
    assert all(row.keys() == set(Event) for row in TABLE.values())


@pytest.mark.parametrize("state", [each for each in State if each is not State.IDLE])
def test_closing_ends_every_state(state: State) -> None:
    transition = step(state, Event.CLOSE)
    assert transition.state is State.IDLE
    assert {Action.STOP_TIMER, Action.DROP} <= set(transition.actions)


def test_whoever_leaves_a_socket_drops_it() -> None:
    for state in WITH_SOCKET:
        for event in Event:
            transition = step(state, event)
            if transition.state not in WITH_SOCKET:
                assert Action.DROP in transition.actions, (state, event)


def test_nobody_waits_without_a_time() -> None:
    """Each way into waiting sets a time; but for a gateway that leaves, which has set it before."""
    setting = {action for action in Action if action.value.startswith("back_off")}
    for state in State:
        for event in Event:
            transition = step(state, event)
            if transition.state is State.WAITING and state not in (State.WAITING, State.LEAVING):
                assert setting & set(transition.actions), (state, event)
    assert Action.BACK_OFF_AWAY in step(State.LIVE, Event.GOAWAY).actions


def test_a_refused_token_is_never_used_again() -> None:
    for state in (State.CONNECTING, State.AUTHENTICATING, State.LIVE, State.LEAVING, State.POLLING):
        actions = step(state, Event.REFUSED).actions
        assert Action.FORGET_TOKEN in actions, state
        assert Action.ASK_TOKEN in actions, state


def test_every_state_leads_to_live_by_some_way() -> None:
    reaches = {State.LIVE}
    while True:
        more = {state for state in State for event in Event if step(state, event).state in reaches} | reaches
        if more == reaches:
            break
        reaches = more
    assert reaches == set(State)


def test_what_the_server_or_the_program_ended_does_not_begin_again_by_itself() -> None:
    own = {Event.SIGN_IN, Event.CLOSE, Event.START}
    for state in (State.STOPPED, State.NEEDS_AUTH, State.IDLE):
        for event in set(Event) - own:
            assert step(state, event).state is state

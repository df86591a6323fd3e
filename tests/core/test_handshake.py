from simple_chat.core.handshake import TRANSITIONS, Event, State


def test_every_state_has_a_row_and_is_reached() -> None:
    assert set(TRANSITIONS) == set(State)
    reached = {state for row in TRANSITIONS.values() for state in row.values()}
    assert reached == set(State)


def test_every_event_happens_somewhere() -> None:
    assert {event for row in TRANSITIONS.values() for event in row} == set(Event)


def test_connection_can_be_lost_in_every_state_and_then_for_good() -> None:
    for state, row in TRANSITIONS.items():
        if state is not State.LOST:
            assert row[Event.CONNECTION_LOST] is State.LOST
    assert set(TRANSITIONS[State.LOST].values()) == {State.LOST}


def test_connection_ends_from_closing_on() -> None:
    assert {state for state in State if state.ending} == {State.CLOSING, State.CLOSED, State.LOST}


def test_no_way_leads_back_from_the_end() -> None:
    for state, row in TRANSITIONS.items():
        if state.ending:
            assert all(after.ending for after in row.values())


def test_input_is_accepted_only_before_the_end() -> None:
    assert not any(state.accepts_input and state.ending for state in State)
    assert not State.VERIFYING.accepts_input


def test_every_state_says_what_it_means() -> None:
    meanings = [state.meaning for state in State]
    assert all(meanings)
    assert len(set(meanings)) == len(State)

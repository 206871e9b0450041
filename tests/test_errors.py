"""The error tree, and the one exit code that comes of several."""

from __future__ import annotations

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netpunch import errors
from netpunch.errors import (
    EXIT_CODE_PRECEDENCE,
    ControlUnreachableError,
    NetpunchError,
    NotLinkedError,
    PunchError,
    bug_text,
    combined_exit_code,
)

TREE = [
    value
    for value in vars(errors).values()
    if isinstance(value, type) and issubclass(value, NetpunchError)
]
DOCUMENTED = {0, 1, 64, 66, 69, 70, 73, 75, 77, 78}
"""The exit codes that users are promised."""


@pytest.mark.parametrize("error", TREE)
def test_every_error_says_what_to_do_and_how_the_process_ends(error: type[NetpunchError]) -> None:
    assert error.__doc__
    assert error.__doc__.count(".") >= 1
    assert error.exit_code in DOCUMENTED - {0}
    assert error.__name__.endswith("Error")


def test_the_tree_has_an_error_for_each_exit_code() -> None:
    assert {error.exit_code for error in TREE} == DOCUMENTED - {0}


@pytest.mark.parametrize("error", [NotLinkedError, ControlUnreachableError])
def test_a_failed_punch_carries_its_reason(error: type[PunchError]) -> None:
    assert error("why", "blocked").reason == "blocked"
    assert error("why").reason is None
    assert str(error("why", "blocked")) == "why"


@pytest.mark.parametrize(
    ("codes", "combined"),
    [
        ([], 0),
        ([0, 0], 0),
        ([0, 75], 75),
        ([75, 69], 69),
        ([75, 69, 1], 1),
        ([1, 73, 75], 73),
        ([77, 73], 77),
        ([69, 77, 78], 78),
        ([78, 70], 70),
        ([64], 64),
        ([64, 75], 75),
    ],
)
def test_the_worst_of_several_ends_the_process(codes: list[int], combined: int) -> None:
    for order in permutations(codes):
        assert combined_exit_code(list(order)) == combined


@given(st.lists(st.sampled_from(sorted(DOCUMENTED)), min_size=1))
def test_no_failure_is_lost(codes: list[int]) -> None:
    combined = combined_exit_code(codes)
    assert combined in codes
    assert (combined == 0) is (set(codes) == {0})


def test_the_precedence_names_each_code_once() -> None:
    assert len(set(EXIT_CODE_PRECEDENCE)) == len(EXIT_CODE_PRECEDENCE)
    assert set(EXIT_CODE_PRECEDENCE) < DOCUMENTED


def test_a_bug_in_a_line() -> None:
    """The repr of such an error would hold all of the bytes."""
    with pytest.raises(UnicodeDecodeError) as caught:
        b"\xffhunter2".decode()
    assert "hunter2" in repr(caught.value)
    assert "hunter2" not in bug_text(caught.value)
    assert bug_text(KeyError("x")) == "KeyError: 'x'"

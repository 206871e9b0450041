"""The error tree, and the combined exit code of several errors."""

from __future__ import annotations

import errno
import os
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netpunch import errors
from netpunch.config.document.problems import SiteError
from netpunch.errors import (
    EXIT_CODES,
    ControlUnreachableError,
    NetpunchError,
    NotLinkedError,
    PunchError,
    ResourcesError,
    bug_text,
    combined_exit_code,
    lack_behind,
    resource_errors,
)
from netpunch.template import TemplateError

TREE = [
    value
    for value in vars(errors).values()
    if isinstance(value, type) and issubclass(value, NetpunchError)
]
DOCUMENTED = {0, 1, 64, 66, 69, 70, 73, 75, 77, 78}
"""The documented exit codes."""


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
    assert error("why").reason == error.reason
    assert str(error("why", "blocked")) == "why"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (errors.PortInUseError, "port_in_use"),
        (errors.ResourcesError, "resources"),
        (errors.NetworkNotReadyError, "network_not_ready"),
        (errors.OutputError, "output"),
        (errors.HookError, "hook"),
        (errors.PermissionsError, "permissions"),
        (errors.UnresolvedError, "unresolved"),
        (SiteError, "configuration"),
        (TemplateError, "configuration"),
        (errors.NetpunchError, "bug"),
    ],
)
def test_every_error_has_its_reason(error: type[NetpunchError], reason: str) -> None:
    assert error.reason == reason


@pytest.mark.parametrize(
    "error", [error for error in TREE if error not in (NetpunchError, PunchError, NotLinkedError)]
)
def test_no_error_without_a_reason_of_its_own_is_called_a_bug(error: type[NetpunchError]) -> None:
    assert error.reason != "bug"


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
def test_the_worst_of_several_exit_codes_counts(codes: list[int], combined: int) -> None:
    for order in permutations(codes):
        assert combined_exit_code(list(order)) == combined


@given(st.lists(st.sampled_from(sorted(DOCUMENTED)), min_size=1))
def test_no_failure_is_lost_in_the_combined_exit_code(codes: list[int]) -> None:
    combined = combined_exit_code(codes)
    assert combined in codes
    assert (combined == 0) is (set(codes) == {0})


def test_the_table_describes_the_documented_exit_codes_and_no_other() -> None:
    assert set(EXIT_CODES) == DOCUMENTED


def test_an_error_without_a_message_says_what_its_docstring_says() -> None:
    assert str(ControlUnreachableError()).startswith("No control answered. Check its address,")
    assert "\n" not in str(ControlUnreachableError())


def test_the_text_of_a_bug_has_no_secret_bytes() -> None:
    """The repr of such an error would hold all of the bytes."""
    with pytest.raises(UnicodeDecodeError) as caught:
        b"\xffhunter2".decode()
    assert "hunter2" in repr(caught.value)
    assert "hunter2" not in bug_text(caught.value)
    assert bug_text(KeyError("x")) == "KeyError: 'x'"


def raised_because_of(cause: BaseException) -> BaseException:
    try:
        try:
            raise cause
        finally:
            raise KeyError("loop")
    except KeyError as error:
        return error


EMFILE = OSError(errno.EMFILE, os.strerror(errno.EMFILE), "/usr/lib/module.py")


@pytest.mark.parametrize(
    ("error", "advice"),
    [
        (EMFILE, "Too many open files; raise LimitNOFILE="),
        (OSError(errno.ENFILE, "x"), "raise fs.file-max"),
        (OSError(errno.ENOMEM, "x"), "Cannot allocate memory; raise MemoryMax="),
        (OSError(errno.ENOBUFS, "x"), "network buffers"),
        (MemoryError(), "out of memory; raise MemoryMax="),
        (RuntimeError("can't start new thread"), "no thread can be started; raise TasksMax="),
        (ImportError("_x.so: cannot open shared object file: Too many open files"), "LimitNOFILE="),
        (ImportError("_x.so: failed to map segment from shared object"), "out of memory"),
        (raised_because_of(EMFILE), "LimitNOFILE="),
        (ResourcesError("no luck; raise X"), "raise X"),
    ],
)
def test_every_form_of_a_lack_of_resources_is_recognized(error: BaseException, advice: str) -> None:
    lack = lack_behind(error, "/etc/site.yaml")
    assert lack is not None
    assert lack.exit_code == 75
    assert str(lack).startswith("/etc/site.yaml: ")
    assert advice in str(lack)


@pytest.mark.parametrize(
    "error",
    [
        *(OSError(number, "x") for number in (errno.EAGAIN, errno.ENOENT, errno.EIO)),
        *(ImportError("no module"), RuntimeError("loop is closed"), KeyError("errno 24")),
        *(OSError("no number"), UnicodeDecodeError("utf-8", b"x", 0, 1, "y")),
    ],
)
def test_an_error_without_a_lack_of_resources_is_unchanged(error: Exception) -> None:
    assert lack_behind(error) is None
    with pytest.raises(type(error)) as caught, resource_errors():
        raise error
    assert caught.value is error


def test_a_process_that_cannot_be_forked_is_a_lack_of_tasks() -> None:
    error = BlockingIOError(errno.EAGAIN, "x")
    assert "TasksMax=" in str(lack_behind(error, starting_process=True))


def test_a_lack_becomes_resources_error_and_our_own_errors_stay() -> None:
    with (
        pytest.raises(ResourcesError, match=r"^x: Too many open files") as caught,
        resource_errors("x"),
    ):
        raise EMFILE
    assert caught.value.__cause__ is EMFILE
    with pytest.raises(NotLinkedError, match=r"^why$"), resource_errors():
        raise NotLinkedError("why")

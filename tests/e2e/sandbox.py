"""Runs a command that lacks system calls, or options of sockets, as in some sandboxes and with old
kernels: the calls fail with ENOSYS, the options with ENOPROTOOPT.

    python -m tests.e2e.sandbox recvmmsg,UDP_SEGMENT COMMAND...
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from collections.abc import Collection

from netpunch.net.packet_filter import INSTRUCTION, JUMP_IF_EQUAL, LOAD_WORD, RETURN, Instruction

CALLS = {
    "x86_64": {"sendmsg": 46, "recvmmsg": 299, "sendmmsg": 307, "setsockopt": 54, "getsockopt": 55},
    "aarch64": {
        **{"sendmsg": 211, "recvmmsg": 243, "sendmmsg": 269},
        **{"setsockopt": 208, "getsockopt": 209},
    },
}.get(os.uname().machine, {})
"""Their numbers, by machine; empty where they are not known."""
OPTIONS = {"UDP_SEGMENT": 103, "UDP_GRO": 104}

NUMBER, ARGUMENTS = 0, 16
"""Where struct seccomp_data has the call's number and its arguments, of 8 bytes each."""
ALLOW, FAIL = 0x7FFF0000, 0x50000
"""SECCOMP_RET_ALLOW, SECCOMP_RET_ERRNO, linux/seccomp.h."""
NO_NEW_PRIVILEGES, SET_SECCOMP, FILTER = 38, 22, 2
"""PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER."""


def program(lacking: Collection[str]) -> list[Instruction]:
    """The filter of system calls, in the classic form of packet filters."""
    filters = [Instruction(LOAD_WORD, value=NUMBER)]
    for name in lacking:
        if name in CALLS:
            filters += [
                Instruction(JUMP_IF_EQUAL, if_false=1, value=CALLS[name]),
                Instruction(RETURN, value=FAIL | errno.ENOSYS),
            ]
            continue
        for call in ("setsockopt", "getsockopt"):
            filters += [
                Instruction(JUMP_IF_EQUAL, if_false=4, value=CALLS[call]),
                Instruction(LOAD_WORD, value=ARGUMENTS + 2 * 8),
                Instruction(JUMP_IF_EQUAL, if_false=1, value=OPTIONS[name]),
                Instruction(RETURN, value=FAIL | errno.ENOPROTOOPT),
                Instruction(LOAD_WORD, value=NUMBER),
            ]
    return [*filters, Instruction(RETURN, value=ALLOW)]


class Program(ctypes.Structure):
    """struct sock_fprog, linux/filter.h."""

    _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_void_p))


def enter(lacking: Collection[str]) -> None:
    """This process and those that it starts do without from now on."""
    filters = program(lacking)
    code = ctypes.create_string_buffer(b"".join(INSTRUCTION.pack(*each) for each in filters))
    description = Program(len(filters), ctypes.addressof(code))
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    for arguments in (
        (NO_NEW_PRIVILEGES, 1, 0, 0, 0),
        (SET_SECCOMP, FILTER, ctypes.byref(description), 0, 0),
    ):
        if prctl(*arguments):
            raise OSError(ctypes.get_errno(), "prctl")


if __name__ == "__main__":
    enter(sys.argv[1].split(","))
    os.execvp(sys.argv[2], sys.argv[2:])

"""Both event loops, as for the rest of what has sockets."""

from tests.net.conftest import _what_loops_open_for_ever, run

__all__ = ["_what_loops_open_for_ever", "run"]

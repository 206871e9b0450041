"""Both event loops, as in tests/net."""

from tests.net.conftest import _what_loops_open_for_ever, run

__all__ = ["_what_loops_open_for_ever", "run"]

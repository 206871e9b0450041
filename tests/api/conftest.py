"""Both event loops, as in tests/net."""

from tests.net.conftest import (
    _collects_only_what_is_made_here,
    _what_loops_open_for_ever,
    run,
)

__all__ = ["_collects_only_what_is_made_here", "_what_loops_open_for_ever", "run"]

"""WireGuard over `forward` at both ends, beside the same tunnel without netpunch."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.lab.network import Lab
from tests.lab.tunnel import Tunnel
from tests.lab.vpn_tunnels import missing

pytestmark = pytest.mark.lab

SECONDS = 1.0
LEAST = 0.6
"""Of what the tunnel carries alone: 0.95 on a quiet machine."""


def test_a_tunnel_carries_almost_as_much_as_without_netpunch(lab: Lab, tmp_path: Path) -> None:
    if lack := missing():
        pytest.skip(f"the tunnel needs {lack}")
    with ExitStack() as cleanup:
        tunnel = Tunnel(lab, tmp_path, cleanup)
        direct, through = [], []
        for _ in range(2):
            tunnel.use(forward=False)
            direct.append(tunnel.carried(SECONDS))
            tunnel.use(forward=True)
            through.append(tunnel.carried(SECONDS))
        assert max(through) >= LEAST * max(direct)

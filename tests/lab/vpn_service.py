"""A stand-in for systemctl: runs what our drop-in says of Debian's openvpn-client@ service."""

from __future__ import annotations

from pathlib import Path

CONTRIB = Path(__file__).parents[2] / "contrib"
DROP_IN = CONTRIB / "openvpn-client@.service.d" / "netpunch.conf"
ENVIRONMENT_FILE = "/run/netpunch-once/%i/env"

SYSTEMCTL = """\
#!/bin/sh
# In the folder of the site file, where hooks run: that separates the hosts.
set -eu
running() {{ [ -e service.pid ] && kill -0 "$(cat service.pid)" 2>/dev/null; }}
case "$*" in
"is-active --quiet {unit}") running ;;
"stop {unit}") ! running || kill "$(cat service.pid)" ;;
"restart {unit}")
  . ./{env_file}
  {start} </dev/null >service.log 2>&1 &
  echo $! >service.pid
  ;;
*) echo "systemctl: unexpected: $*" >&2; exit 1 ;;
esac
"""


def write_systemctl(directory: Path, pair: str, env_file: str) -> None:
    """A `systemctl` in `directory` for one pair, whose env file is in the site file's folder."""
    assert _settings("EnvironmentFile") == [ENVIRONMENT_FILE]
    emptied, start = _settings("ExecStart")
    assert not emptied  # else systemd would run Debian's own line as well
    unit = f"openvpn-client@{pair}.service"
    # The shell expands ${NAME} as systemd does.
    script = SYSTEMCTL.format(unit=unit, env_file=env_file, start=start.replace("%i", pair))
    directory.mkdir()
    (directory / "systemctl").write_text(script)
    (directory / "systemctl").chmod(0o755)


def _settings(key: str) -> list[str]:
    lines = DROP_IN.read_text().splitlines()
    return [line.partition("=")[2] for line in lines if line.startswith(f"{key}=")]

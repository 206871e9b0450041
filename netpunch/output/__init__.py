"""All output of a run: JSON lines, lines for people, env files, status, metrics, systemd."""

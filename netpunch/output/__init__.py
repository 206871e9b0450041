"""JSON lines, templates, env files: what a run tells the world."""

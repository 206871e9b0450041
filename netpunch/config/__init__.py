"""A YAML site file to plain values; every error with its place in the file."""

from __future__ import annotations

from netpunch.config.loading import load
from netpunch.config.problems import Problem, SiteError
from netpunch.config.selection import pairs_served, read_templates, select

__all__ = ["Problem", "SiteError", "load", "pairs_served", "read_templates", "select"]

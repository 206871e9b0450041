"""Netpunch: UDP hole punching between hosts behind NATs."""

from netpunch._version import __version__

__all__ = ["__version__"]

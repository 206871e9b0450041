"""Sockets, timers, event loop: one generic driver feeds a core object."""

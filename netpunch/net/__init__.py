"""Sockets, event loop, resolver and interfaces; one driver for every machine of the core."""

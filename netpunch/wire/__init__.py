"""Bytes to messages and back: classic, v2, keys. Pure functions and small classes."""

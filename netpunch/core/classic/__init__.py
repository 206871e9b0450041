"""The protocol of Go's netpunch: its end and its control."""

"""What an end and a control node decide. No input or output: see `core.machine`."""

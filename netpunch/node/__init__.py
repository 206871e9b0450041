"""One process: its control, its ends, reload, signals, hooks."""

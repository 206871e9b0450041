"""One end of a pair: it announces itself, checks paths, agrees on one and holds it."""

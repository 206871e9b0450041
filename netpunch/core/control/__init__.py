"""The control node: it registers ends and introduces them to each other."""

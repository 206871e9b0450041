"""A site file as YAML whose every value knows its position, and what is wrong with it, shown
without its secrets."""

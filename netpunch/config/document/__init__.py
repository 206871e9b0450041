"""A site file as YAML with a position for every value, and its problems, shown without secrets."""

"""A YAML site file to plain values; every error with its place in the file."""

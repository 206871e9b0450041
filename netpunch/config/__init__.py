"""YAML to frozen dataclasses; every error with its place in the file."""

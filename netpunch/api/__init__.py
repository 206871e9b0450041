"""The calls for programs that embed netpunch; `import netpunch` offers them."""

"""What `netpunch doctor` finds out: whether a node's pairs can link, and why not."""

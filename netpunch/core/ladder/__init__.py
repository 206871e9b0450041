"""What is tried when plain pings do not pass: one tactic for each pairing of NAT classes."""

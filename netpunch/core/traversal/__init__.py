"""What an end tries against hard NATs, beyond plain pings."""

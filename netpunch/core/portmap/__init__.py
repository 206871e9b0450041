"""Port mappings asked of a gateway by PCP and NAT-PMP."""

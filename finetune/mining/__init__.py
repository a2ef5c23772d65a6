"""Hard negatives for a tenant's queries and what answers them. Pure."""

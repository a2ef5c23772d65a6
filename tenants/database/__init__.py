"""What keeps tenants apart inside PostgreSQL: policies, composite keys, roles and the scope."""

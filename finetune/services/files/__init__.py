"""Files: taken in, read for a model, kept within a tenant's room, let go."""

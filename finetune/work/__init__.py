"""Everything that a worker does under a lease, whatever kind of work it is."""

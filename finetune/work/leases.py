"""The right to work on a row."""


class LeaseLost(Exception):
    """Another worker, or the reaper, has the row now: stop, and write nothing."""

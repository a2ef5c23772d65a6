"""The all-in-one stack: PostgreSQL, web, workers, serving, supervised in one data folder."""

from privatune.stack.up import StackError, up

__all__ = ["StackError", "up"]

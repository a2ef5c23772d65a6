"""Personal data and secrets: where they stand in a row, and how they are masked there."""

from finetune.profiling.personal.places import found_in, masked_row, texts
from finetune.records.personal import SECRETS, Found, Kind, find, masked

__all__ = ["SECRETS", "Found", "Kind", "find", "found_in", "masked", "masked_row", "texts"]

"""Personal data and secrets: what is looked for, where in a row, and how it is masked."""

from finetune.profiling.personal.finding import find, masked
from finetune.profiling.personal.kinds import SECRETS, Found, Kind
from finetune.profiling.personal.places import found_in, masked_row, texts

__all__ = ["SECRETS", "Found", "Kind", "find", "found_in", "masked", "masked_row", "texts"]

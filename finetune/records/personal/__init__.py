"""Personal data and secrets in a text: what is looked for, and how it is masked."""

from finetune.records.personal.finding import find, masked
from finetune.records.personal.kinds import ALL, SECRETS, Found, Kind

__all__ = ["ALL", "SECRETS", "Found", "Kind", "find", "masked"]

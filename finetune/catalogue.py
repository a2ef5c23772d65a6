"""What the operator says of a base model beside what is read from its files. Pure."""

from enum import StrEnum


class ModelTask(StrEnum):
    """What a base was made for, as its upstream says."""

    GENERAL = "general"
    DIALOGUE = "dialogue"
    CODE = "code"
    WRITING = "writing"


class Edition(StrEnum):
    OPEN = "open"
    COMMERCIAL = "commercial"

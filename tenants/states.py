"""What a file and an upload can be, in the words of OpenAI's wire. Pure."""

from enum import StrEnum


class FileStatus(StrEnum):
    UPLOADED = "uploaded"  # its rows are still to be checked
    PROCESSED = "processed"
    ERROR = "error"


class UploadStatus(StrEnum):
    PENDING = "pending"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"

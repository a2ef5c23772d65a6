"""Ends that people give and read as a day: kept as the moment after it, told as the last day. Days
are UTC's, wherever they are read, so that a licence has one last day for everybody. Pure."""

from datetime import UTC, date, datetime, time, timedelta


def end_of(day: date) -> datetime:
    """The first moment after the day."""
    return datetime.combine(day, time(), UTC) + timedelta(days=1)


def last_day(end: datetime) -> date:
    """The last day that has any time before `end`."""
    return (end - timedelta(microseconds=1)).astimezone(UTC).date()

"""What ends work before it is done: a lost lease, a worker that stops, a wish of the tenant's."""

from dataclasses import dataclass


class LeaseLost(Exception):
    """Another worker, or the reaper, has the row now: stop, and write nothing."""


class Stopped(Exception):
    """The work stopped because its worker was asked to: it is given back."""


@dataclass(frozen=True)
class Wishes:
    """What the tenant asked for while the work is done."""

    cancel: bool = False
    pause: bool = False

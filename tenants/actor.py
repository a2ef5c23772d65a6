"""Who acted, as the audit trail names them: a readable text that carries the ids behind it. Pure.

An `Actor` is a str, so it travels wherever a name does (database parameters, JSON, log lines).
What makes it somebody is not the text, which people choose, but `kind`, `user_id` and `key_id`,
which only the constructors below set. `address` says from where, once a request is known.
"""

from enum import StrEnum
from typing import Any
from uuid import UUID


class ActorKind(StrEnum):
    PERSON = "person"
    KEY = "key"
    OPERATOR = "operator"  # staff in the admin, with a user id; at the command line, without
    SYSTEM = "system"


class Actor(str):
    kind: ActorKind
    user_id: UUID | None
    key_id: UUID | None
    address: str

    def __new__(
        cls,
        text: str,
        kind: ActorKind,
        user_id: UUID | None = None,
        key_id: UUID | None = None,
        address: str = "",
    ) -> "Actor":
        made = super().__new__(cls, text)
        made.kind, made.user_id, made.key_id, made.address = kind, user_id, key_id, address
        return made

    def __getnewargs__(self) -> tuple[Any, ...]:  # copies and pickles keep the ids
        return str(self), self.kind, self.user_id, self.key_id, self.address

    def at(self, address: str) -> "Actor":
        """The same, acting from that network address."""
        return Actor(str(self), self.kind, self.user_id, self.key_id, address)

    @classmethod
    def person(cls, email: str, user_id: UUID) -> "Actor":
        return cls(email, ActorKind.PERSON, user_id=user_id)

    @classmethod
    def key(cls, name: str, key_id: UUID, user_id: UUID | None = None) -> "Actor":
        """`user_id`: the member whose key it is; None for a service key."""
        return cls(f"key:{name}", ActorKind.KEY, user_id=user_id, key_id=key_id)

    @classmethod
    def operator(cls, name: str, user_id: UUID | None = None) -> "Actor":
        return cls(f"operator:{name}", ActorKind.OPERATOR, user_id=user_id)

    @classmethod
    def system(cls, name: str) -> "Actor":
        return cls(f"system:{name}", ActorKind.SYSTEM)


def actor_of(text: str) -> Actor:
    """`text` itself when it is an Actor; else one without ids: the operator's or the system's.

    ValueError for an address without ids: a person's entry is written with a person's id or not
    at all, or anybody who may choose a text could write in anybody's name.
    """
    if isinstance(text, Actor):
        return text
    if text.startswith("operator:"):
        return Actor(text, ActorKind.OPERATOR)
    if "@" in text:
        raise ValueError(f"the actor {text!r} looks like a person and carries no user id")
    return Actor(text, ActorKind.SYSTEM)

"""What is said of a schema that no answer can be held to."""

from faults import UserFault


def unsupported(place: str, what: str, fix: str | None = None) -> UserFault:
    return UserFault(
        "schema_unsupported",
        f"`{place}`: {what}.",
        fix=fix or "See which schemas are offered in the reference, and write it with those.",
        param=place,
    )


def invalid(place: str, what: str) -> UserFault:
    return UserFault("invalid_schema", f"`{place}` {what}.", param=place)


def too_large(place: str, what: str) -> UserFault:
    return UserFault(
        "schema_too_large", f"`{place}` {what}.", fix="Give a smaller schema.", param=place
    )

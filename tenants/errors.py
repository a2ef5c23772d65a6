"""What a tenant is refused, and why. Pure: mapped to HTTP by the wiring, to text by the CLI."""

from faults import OurFault, UserFault


class NotAuthenticated(UserFault):
    status = 401


class Refused(UserFault):
    """A missing scope, role or licence."""

    status = 403


class TenantGone(Refused):
    """The organisation's key and data were destroyed; told only to who belonged to it."""

    status = 410

    def __init__(self) -> None:
        super().__init__(
            "tenant_deleted",
            "This organisation was deleted: its key is destroyed and its data can never be read.",
            fix="There is no way back. Ask the operator for the deletion certificate.",
        )


class NotFound(UserFault):
    """Also what another tenant's id answers: the two must be byte-equal."""

    status = 404


class Invalid(UserFault):
    status = 400


class Conflict(UserFault):
    """A permanent conflict; a retry will not help."""

    status = 409


class Unavailable(OurFault):
    """Something of ours does not answer now; the same request may succeed later."""

    status = 503

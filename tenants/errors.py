"""What a tenant is refused, and why. Pure: mapped to HTTP by the wiring, to text by the CLI."""


class TenantError(Exception):
    """`code` is stable; `fix` says how to mend it; `param` names the request field at fault."""

    status = 400

    def __init__(
        self, code: str, message: str, *, fix: str | None = None, param: str | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.where: str | None = None
        self.fix = fix
        self.param = param

    def __str__(self) -> str:
        return f"{self.message} Fix: {self.fix}" if self.fix else self.message


class NotAuthenticated(TenantError):
    status = 401


class Refused(TenantError):
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


class NotFound(TenantError):
    """Also what another tenant's id answers: the two must be byte-equal."""

    status = 404


class Invalid(TenantError):
    status = 400


class Conflict(TenantError):
    """A permanent conflict; a retry will not help."""

    status = 409


class Unavailable(TenantError):
    """Something of ours does not answer now; the same request may succeed later."""

    status = 503

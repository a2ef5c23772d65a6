"""The licence that was signed into a bundle, as it is held to without anybody to ask."""

from datetime import datetime, timedelta
from typing import Any

from pydantic import AwareDatetime, BaseModel, ValidationError

from faults import UserFault
from privatune.alone.clock import HighWater


class NotLicensed(UserFault):
    status = 403


class Terms(BaseModel):
    """Of license.json. `valid_until` is the first moment that it no longer holds; None: no end."""

    valid_from: AwareDatetime | None = None
    valid_until: AwareDatetime | None

    @classmethod
    def of(cls, license_json: dict[str, Any]) -> "Terms":
        """Raises UserFault `license_unreadable`: what cannot be read does not allow anything."""
        granted = license_json.get("granted")
        try:
            if not isinstance(granted, dict):
                raise ValueError("it grants nothing")
            return cls.model_validate(granted)
        except (ValidationError, ValueError) as error:
            raise NotLicensed(
                "license_unreadable",
                "The artifact's license.json does not say until when it holds.",
                where="license.json",
                fix="Fetch the artifact again.",
            ) from error

    def require(self, clock: HighWater) -> None:
        """Raises UserFault `license_expired` or `license_not_yet`, and what the clock raises."""
        now = clock.time()
        if self.valid_until is not None and now >= self.valid_until:
            last = _day(self.valid_until - timedelta(microseconds=1))
            raise NotLicensed(
                "license_expired",
                f"The licence to this model is over; its last day was {last}.",
                fix="Ask whoever gave you the model for one under a licence that holds.",
            )
        if self.valid_from is not None and now < self.valid_from:
            raise NotLicensed(
                "license_not_yet", f"The licence to this model begins on {_day(self.valid_from)}."
            )


def _day(moment: datetime) -> str:
    return moment.date().isoformat()

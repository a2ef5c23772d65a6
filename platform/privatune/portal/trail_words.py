"""The audit trail in the person's language: every act in words, and who did it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from django.utils import timezone
from django.utils.formats import date_format
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from privatune.portal.words import ROLE_NAMES
from tenants.actor import ActorKind
from tenants.models import AuditEntry


class Kind(StrEnum):
    """What the page filters by."""

    SIGN_IN = "sign-in"
    PEOPLE = "people"
    KEYS = "keys"
    FILES = "files"
    JOBS = "jobs"
    MODELS = "models"
    ORGANISATION = "organisation"
    OPERATOR = "operator"


KIND_NAMES: dict[Kind, Any] = {
    Kind.SIGN_IN: _("Sign-ins"),
    Kind.PEOPLE: _("Members and invitations"),
    Kind.KEYS: _("Keys"),
    Kind.FILES: _("Files and reports"),
    Kind.JOBS: _("Jobs"),
    Kind.MODELS: _("Models"),
    Kind.ORGANISATION: _("Organisation, licences, audit log"),
    Kind.OPERATOR: _("Operator"),
}


@dataclass(frozen=True)
class Act:
    kind: Kind
    words: Any  # with the fields of `_fields`


ACTS: dict[str, Act] = {
    "session.enter": Act(Kind.SIGN_IN, _("Signed in %(by)s, %(second_factor)s")),
    "sign_in.failed": Act(
        Kind.SIGN_IN, _("Wrong passwords for %(target)s: %(attempts)s, from %(networks)s")
    ),
    "sign_in.code_failed": Act(
        Kind.SIGN_IN,
        _("Wrong codes for %(target)s after the right password: %(attempts)s, from %(networks)s"),
    ),
    "sign_in.passkey_failed": Act(
        Kind.SIGN_IN,
        _(
            "Passkeys that did not fit for %(target)s after the right password: %(attempts)s, from "
            "%(networks)s"
        ),
    ),
    "sign_in.refused": Act(
        Kind.SIGN_IN, _("Refused the sign-in of %(target)s through the identity provider")
    ),
    "sign_in.provider": Act(Kind.SIGN_IN, _("Named the identity provider %(target)s")),
    "sign_in.provider_removed": Act(Kind.SIGN_IN, _("Removed the identity provider")),
    "member.add": Act(Kind.PEOPLE, _("Added %(target)s as %(role)s")),
    "member.join": Act(
        Kind.PEOPLE, _("Accepted the invitation of %(invited_by)s and joined as %(role)s")
    ),
    "member.change": Act(
        Kind.PEOPLE, _("Changed the role of %(target)s from %(before)s to %(role)s")
    ),
    "member.remove": Act(Kind.PEOPLE, _("Removed the member %(target)s")),
    "member.reset": Act(Kind.PEOPLE, _("Reset the password of %(target)s for lost access")),
    "invitation.create": Act(Kind.PEOPLE, _("Invited %(target)s as %(role)s")),
    "invitation.revoke": Act(Kind.PEOPLE, _("Revoked the invitation of %(target)s")),
    "key.create": Act(Kind.KEYS, _("Made the key %(name)s (%(target)s…)")),
    "key.change": Act(Kind.KEYS, _("Changed the name, the end or the networks of key %(target)s…")),
    "key.rotate": Act(Kind.KEYS, _("Gave the key %(target)s… a new secret")),
    "key.revoke": Act(Kind.KEYS, _("Revoked the key %(name)s (%(target)s…)")),
    "key.new_address": Act(Kind.KEYS, _("Used the key %(target)s… from a new address")),
    "key.refused_address": Act(
        Kind.KEYS, _("The key %(target)s… was refused: it may not be used from this address")
    ),
    "file.create": Act(Kind.FILES, _("Brought in the file %(target)s")),
    "file.columns": Act(Kind.FILES, _("Said how the columns of %(target)s are called")),
    "file.delete": Act(Kind.FILES, _("Deleted the file %(target)s")),
    "file.expire": Act(Kind.FILES, _("Deleted the file %(target)s, whose time was over")),
    "file.download": Act(Kind.FILES, _("Downloaded the file %(target)s")),
    "report.read": Act(Kind.FILES, _("Saw what the check of %(target)s found")),
    "report.list": Act(Kind.FILES, _("Saw what checks found, in a list of readings")),
    "report.download": Act(Kind.FILES, _("Downloaded the problems found in %(target)s")),
    "row.preview": Act(Kind.FILES, _("Saw rows of %(target)s as a model sees them")),
    "file.profile": Act(Kind.FILES, _("Had the rows of %(target)s seen through")),
    "profile.download": Act(Kind.FILES, _("Downloaded what was found in the rows of %(target)s")),
    "profile.read": Act(Kind.FILES, _("Saw the tags of the rows of %(target)s")),
    "file.scrub": Act(Kind.FILES, _("Had a version of %(target)s made without personal data")),
    "scrub.read": Act(Kind.FILES, _("Saw what was masked in the rows of %(target)s")),
    "file.mine": Act(Kind.FILES, _("Had hard negatives mined for %(target)s by %(model)s")),
    "mining.cancel": Act(Kind.FILES, _("Stopped the mining of hard negatives for %(target)s")),
    "upload.create": Act(Kind.FILES, _("Began the upload %(target)s")),
    "upload.complete": Act(Kind.FILES, _("Completed the upload %(target)s")),
    "upload.cancel": Act(Kind.FILES, _("Cancelled the upload %(target)s")),
    "upload.expire": Act(Kind.FILES, _("Removed the upload %(target)s, which nobody completed")),
    "job.create": Act(Kind.JOBS, _("Started the job %(target)s on %(model)s")),
    "job.cancel": Act(Kind.JOBS, _("Cancelled the job %(target)s")),
    "job.pause": Act(Kind.JOBS, _("Paused the job %(target)s")),
    "estimate.create": Act(Kind.JOBS, _("Asked what a job on %(model)s would take")),
    "sample.read": Act(Kind.JOBS, _("Saw answers that a model drew in the training %(target)s")),
    "job.resume": Act(Kind.JOBS, _("Resumed the job %(target)s")),
    "pipeline.create": Act(
        Kind.JOBS, _("Started the pipeline %(target)s on %(model)s, stages: %(stages)s")
    ),
    "pipeline.cancel": Act(Kind.JOBS, _("Cancelled the pipeline %(target)s")),
    "pipeline.pause": Act(Kind.JOBS, _("Paused the pipeline %(target)s")),
    "pipeline.resume": Act(Kind.JOBS, _("Resumed the pipeline %(target)s")),
    "pipeline.approve": Act(
        Kind.JOBS, _("Approved the stage %(stage)s of the pipeline %(target)s")
    ),
    "pipeline.retry": Act(
        Kind.JOBS, _("Tried the pipeline %(target)s again from the stage %(stage)s")
    ),
    "artifact.publish": Act(Kind.MODELS, _("Finished the model %(model)s")),
    "artifact.download": Act(Kind.MODELS, _("Downloaded the weights of %(target)s")),
    "form.create": Act(Kind.MODELS, _("Asked for another form of %(target)s, with its base in it")),
    "form.publish": Act(Kind.MODELS, _("Made another form of %(target)s, with its base in it")),
    "form.cancel": Act(Kind.MODELS, _("Stopped the making of another form of %(target)s")),
    "form.download": Act(
        Kind.MODELS, _("Downloaded another form of %(target)s, with its base in it")
    ),
    "form.delete": Act(Kind.MODELS, _("Deleted another form of %(target)s")),
    "model.ask": Act(Kind.MODELS, _("Asked the model %(target)s")),
    "model.delete": Act(Kind.MODELS, _("Deleted the model %(target)s")),
    "model.accept": Act(Kind.MODELS, _("Gave out %(target)s, which passed its evaluation")),
    "model.release": Act(Kind.MODELS, _("Released %(target)s, which was withheld")),
    "suite.create": Act(Kind.MODELS, _("Wrote the suite %(target)s")),
    "suite.change": Act(Kind.MODELS, _("Changed the name or the labels of the suite %(target)s")),
    "suite.delete": Act(Kind.MODELS, _("Deleted the suite %(target)s with its evaluations")),
    "evaluation.create": Act(Kind.MODELS, _("Started the evaluation %(target)s of %(model)s")),
    "evaluation.cancel": Act(Kind.MODELS, _("Cancelled the evaluation %(target)s")),
    "evaluation.delete": Act(Kind.MODELS, _("Deleted the evaluation %(target)s")),
    "evaluation.read": Act(Kind.MODELS, _("Saw questions and answers of %(target)s")),
    "tenant.create": Act(Kind.ORGANISATION, _("Made the organisation %(name)s")),
    "tenant.two_factor": Act(
        Kind.ORGANISATION, _("Second factor required of all members: %(required)s")
    ),
    "tenant.limits": Act(Kind.ORGANISATION, _("Changed what the organisation may use")),
    "tenant.shred": Act(Kind.ORGANISATION, _("Destroyed the organisation's key")),
    "tenant.shredded": Act(
        Kind.ORGANISATION, _("Finished destroying the organisation's data and signed for it")
    ),
    "license.issue": Act(Kind.ORGANISATION, _("Issued a licence for %(target)s")),
    "license.change": Act(Kind.ORGANISATION, _("Changed the licence for %(target)s")),
    "audit.export": Act(Kind.ORGANISATION, _("Downloaded the audit log")),
    "operator.read": Act(Kind.OPERATOR, _("Looked at this organisation: %(page)s")),
    "support.grant": Act(
        Kind.OPERATOR, _("Opened support access until %(until)s, because: %(reason)s")
    ),
    "support.revoke": Act(Kind.OPERATOR, _("Ended support access")),
}
BY: dict[str, Any] = {
    "password": _("with a password"),
    "oidc": _("through the organisation's identity provider"),
}
# The operator's pages (tenants/operator_site.py) that show something of an organisation.
PAGES: dict[str, Any] = {
    "tenant": _("name and state"),
    "license": _("licences"),
    "usageentry": _("usage"),
    "user": _("people's accounts"),
    "supportconsent": _("support access"),
    "dataset": _("readings of files"),
    "validation": _("validations of jobs"),
    "run": _("runs"),
    "evaluation": _("evaluations"),
    "job": _("jobs, by support access"),
}


def told(entry: AuditEntry, names: Mapping[str, str]) -> str:
    """What was done. `names`: what files are called, by their public ids."""
    act = ACTS.get(entry.action)
    return str(act.words) % _Fields(_fields(entry, names)) if act else entry.action


def who(entry: AuditEntry) -> str:
    name = entry.actor.partition(":")[2]
    match entry.kind:
        case ActorKind.KEY:
            return gettext("Key %(name)s") % {"name": name}
        case ActorKind.OPERATOR:
            return gettext("Operator %(name)s") % {"name": name}
        case ActorKind.SYSTEM:
            return "Privatune"
    return entry.actor


class _Fields(dict[str, str]):
    def __missing__(self, key: str) -> str:
        return "–"  # an entry from before the field


def _fields(entry: AuditEntry, names: Mapping[str, str]) -> dict[str, str]:
    data = entry.data
    fields = {name: str(value) for name, value in data.items() if isinstance(value, str | int)}
    fields["target"] = names.get(entry.target, entry.target)
    fields["page"] = str(PAGES.get(entry.target, entry.target))
    for name in ("role", "before"):
        if fields.get(name) in ROLE_NAMES:
            fields[name] = str(ROLE_NAMES[fields[name]])  # type: ignore[index]
    if "by" in fields:
        fields["by"] = str(BY.get(fields["by"], fields["by"]))
    if "second_factor" in data:
        used = data["second_factor"]
        fields["second_factor"] = (
            gettext("with a second factor") if used else gettext("without a second factor")
        )
    if "required" in data:
        fields["required"] = gettext("yes") if data["required"] else gettext("no")
    if "until" in fields:
        until = timezone.localtime(datetime.fromisoformat(fields["until"]))
        fields["until"] = date_format(until, "Y-m-d H:i")
    if "networks" in data:
        fields["networks"] = _networks(data)
    return fields


def _networks(data: Mapping[str, Any]) -> str:
    named = ", ".join(data["networks"])
    if not data.get("more_networks"):
        return named
    return gettext("%(networks)s and %(count)d more") % {
        "networks": named,
        "count": data["more_networks"],
    }

"""What is said of a state, and in which colour."""

from collections.abc import Iterable, Mapping
from typing import Any

from django import template
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext

from finetune.models import Evaluation, Job, Stage
from finetune.states import LIVE_JOB_STATES, LIVE_LEASES, JobState, LeaseState
from privatune.portal.file_rows import label
from privatune.portal.verdicts import ROLES, SIDES
from privatune.portal.words import (
    EVALUATION_STATES,
    FILE_PURPOSES,
    FILE_STATUSES,
    JOB_STATES,
    LICENCE_STATES,
    Badge,
)
from tenants.models import License, LicenseState, StoredFile

register = template.Library()


@register.simple_tag
def job_state(job: Job) -> SafeString:
    """Also a wish that its worker has not met yet."""
    if job.state == JobState.RUNNING and job.cancel_requested_at:
        return shown(Badge(gettext("being cancelled"), "yellow"))
    if job.state == JobState.RUNNING and job.pause_requested_at:
        return shown(Badge(gettext("being paused"), "yellow"))
    return shown(JOB_STATES[job.state])


@register.filter
def any_live(jobs: Iterable[Job]) -> bool:
    """Whether the list will change by itself."""
    return any(job.state in LIVE_JOB_STATES and job.state != JobState.PAUSED for job in jobs)


@register.filter
def to_approve(stage: Stage) -> bool:
    """Whether the pipeline waits for a person's yes to the stage, whose job is at hand."""
    asked = stage.gate == "approval" and stage.approved_at is None
    done = stage.job is not None and stage.job.state == JobState.SUCCEEDED
    return asked and done and stage.pipeline.state in LIVE_LEASES


@register.simple_tag
def evaluation_state(evaluation: Evaluation) -> SafeString:
    if evaluation.state == LeaseState.LEASED and evaluation.cancel_requested_at:
        return shown(Badge(gettext("being cancelled"), "yellow"))
    return shown(EVALUATION_STATES[evaluation.state])


@register.simple_tag
def side_name(side: str) -> str:
    return str(SIDES.get(side, side))


@register.simple_tag
def answered(side: str, told: Mapping[str, Any], sides: Mapping[str, Any]) -> SafeString:
    """Whether the side's answer was right; its name, where there are several."""
    word, colour = gettext("wrong"), "yellow"
    if told["errored"]:
        word, colour = gettext("error"), "red"
    elif told["passed"]:
        word, colour = gettext("right"), "green"
    name = f"{SIDES.get(side, side)}: " if len(sides) > 1 else ""
    return shown(Badge(f"{name}{word}", colour))


@register.simple_tag
def role_name(role: str) -> str:
    return str(ROLES.get(role, role))


@register.simple_tag
def file_status(file: StoredFile) -> SafeString:
    return shown(FILE_STATUSES[file.status])


@register.filter
def file_label(file: StoredFile) -> str:
    return label(file)


@register.simple_tag
def licence_state(licence: License) -> SafeString:
    """What a day has ended is not active, whatever its operator set."""
    over = licence.valid_until is not None and licence.valid_until <= timezone.now()
    if over and licence.state == LicenseState.ACTIVE:
        return shown(Badge(gettext("expired"), "red"))
    return shown(LICENCE_STATES[licence.state])


@register.simple_tag
def rights(licence: License) -> SafeString:
    badges = ((shown(Badge(gettext(each))),) for each in licence.rights)
    return format_html_join(" ", "{}", badges)


@register.simple_tag
def purpose(file: StoredFile) -> SafeString:
    return shown(FILE_PURPOSES[file.purpose])


@register.simple_tag(name="badge")
def shown(badge: Badge) -> SafeString:
    colour = f" bg-{badge.colour}-lt" if badge.colour else ""
    return format_html('<span class="badge{}">{}</span>', colour, badge.word)

"""What is said of a state, and in which colour."""

from django import template
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext

from finetune.models import Job
from finetune.purposes import OF_ROWS
from privatune.portal.words import FILE_STATUSES, JOB_STATES, LICENCE_STATES, Badge
from tenants.models import License, StoredFile
from tenants.states import FileStatus

register = template.Library()


@register.simple_tag
def job_state(job: Job) -> SafeString:
    return shown(JOB_STATES[job.state])


@register.simple_tag
def file_status(file: StoredFile) -> SafeString:
    return shown(FILE_STATUSES[file.status])


@register.simple_tag
def licence_state(licence: License) -> SafeString:
    return shown(LICENCE_STATES[licence.state])


@register.simple_tag
def rights(licence: License) -> SafeString:
    badges = ((shown(Badge(gettext(each))),) for each in licence.rights)
    return format_html_join(" ", "{}", badges)


@register.simple_tag
def purpose(file: StoredFile) -> str | SafeString:
    """Of a file that is not for training."""
    return "" if file.purpose in OF_ROWS else shown(Badge(file.purpose))


@register.filter
def is_usable(file: StoredFile) -> bool:
    return file.status == FileStatus.PROCESSED


def shown(badge: Badge) -> SafeString:
    colour = f" bg-{badge.colour}-lt" if badge.colour else ""
    return format_html('<span class="badge{}">{}</span>', colour, badge.word)

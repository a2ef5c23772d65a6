"""Puts our own door before Django's admin."""

from django.contrib.admin.apps import AdminConfig


class OperatorAdminConfig(AdminConfig):
    default_site = "privatune.people.operators.OperatorSite"

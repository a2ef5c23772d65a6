"""The rooms of the portal."""

from django.urls import path

from privatune.portal.access import switch_tenant
from privatune.portal.rooms import home

app_name = "portal"
urlpatterns = [
    path("", home.home, name="home"),
    path("tenant/switch", switch_tenant, name="switch-tenant"),
    path("licences/", home.licences, name="licences"),
]

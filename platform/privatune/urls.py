"""Every address of the server."""

from django.contrib import admin
from django.urls import include, path

from privatune.health import healthz

urlpatterns = [
    path("healthz", healthz),
    path("operator/", admin.site.urls),
    path("accounts/", include("allauth.account.urls")),
    path("i18n/", include("django.conf.urls.i18n")),
    path("", include("privatune.portal.urls")),
]

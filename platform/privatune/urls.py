"""Every address of the server."""

from django.conf import settings
from django.contrib import admin
from django.urls import include, path, re_path

from privatune import problem_pages
from privatune.health import healthz

urlpatterns = [
    path("healthz", healthz),
    *([path("operator/", admin.site.urls)] if settings.OPERATOR_ROOMS else []),
    path("accounts/", include("privatune.people.urls")),
    path("i18n/", include("django.conf.urls.i18n")),
    path("v1/", include("finetune.api.wire.urls")),
    path("api/v1/", include("finetune.api.own.urls")),
    re_path(r"^(?:v1|api)(?:/.*)?$", problem_pages.unknown_api_route),
    path("", include("privatune.portal.urls")),
]

handler400 = "privatune.problem_pages.bad_request"
handler403 = "privatune.problem_pages.forbidden"
handler404 = "privatune.problem_pages.not_found"
handler500 = "privatune.problem_pages.server_error"

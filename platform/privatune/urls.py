"""Every address of the server."""

from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("operator/", admin.site.urls),
    path("accounts/", include("allauth.account.urls")),
]

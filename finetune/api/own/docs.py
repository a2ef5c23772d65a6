"""/api/v1/schema and /api/v1/docs: the OpenAPI document, and Swagger UI from a package."""

from typing import Any

from csp.decorators import csp_update
from django.utils.decorators import method_decorator
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView


class Schema(SpectacularAPIView):
    """Public: it tells nothing of any tenant."""

    authentication_classes: list[Any] = []


# Swagger UI sets styles from its script; the scripts themselves come from this server only.
@method_decorator(csp_update({"style-src": ["'self'", "'unsafe-inline'"]}), name="dispatch")
class Docs(SpectacularSwaggerSplitView):
    authentication_classes: list[Any] = []
    url_name = "api-schema"

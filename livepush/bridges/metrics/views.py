"""``GET metrics/``: for who has the token, or whom the project's own function lets in."""

from __future__ import annotations

from django.core.exceptions import ImproperlyConfigured
from django.http import Http404, HttpRequest, HttpResponse
from django.utils.crypto import constant_time_compare

from livepush.conf import get_settings, load

MISSING = 'The metrics need prometheus_client: pip install "django-livepush[metrics]".'


def metrics(request: HttpRequest) -> HttpResponse:
    """Answer with the metrics of all processes, in Prometheus' text format or as OpenMetrics."""
    refusal = _refusal(request)
    if refusal is not None:
        return refusal
    try:
        from livepush.bridges.metrics.exposition import encoded
    except ModuleNotFoundError as error:
        raise ImproperlyConfigured(MISSING) from error
    content, media_type = encoded(request.headers.get("Accept", ""))
    response = HttpResponse(content, content_type=media_type)
    response["Cache-Control"] = "private, no-store"
    return response


def _refusal(request: HttpRequest) -> HttpResponse | None:
    settings = get_settings()
    if not (settings.METRICS_TOKEN or settings.METRICS_ALLOWED):
        raise Http404
    if request.method not in ("GET", "HEAD"):
        return HttpResponse("This address answers GET.\n", "text/plain", 405, headers={"Allow": "GET"})
    kind, _, shown = request.META.get("HTTP_AUTHORIZATION", "").partition(" ")
    if settings.METRICS_TOKEN and kind.lower() == "bearer" and constant_time_compare(shown, settings.METRICS_TOKEN):
        return None
    if settings.METRICS_ALLOWED and load("METRICS_ALLOWED", settings.METRICS_ALLOWED)(request) is True:
        return None
    headers = {"WWW-Authenticate": "Bearer"}
    return HttpResponse("Send Authorization: Bearer and METRICS_TOKEN.\n", "text/plain", 401, headers=headers)

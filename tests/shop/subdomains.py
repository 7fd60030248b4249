"""Tenants without schemas: each has a subdomain, and they share the users."""

from __future__ import annotations

from django.contrib.auth.models import User

from livepush import tenants

NAMES = ("acme", "globex")


class Subdomains(tenants.Tenants):
    def of_request(self, request):
        name = request.get_host().partition(".")[0]
        if name == "broken":
            raise RuntimeError("a tenant that can't be found out")
        return name if name in NAMES else None


class OwnUsers(Subdomains):
    """As if each tenant had users of its own."""

    shares_users = False


async def knows_ann_in_acme(request):
    """An authenticator."""
    return await User.objects.filter(username="ann").afirst() if tenants.current() == "acme" else None


def middleware(get_response):
    """Let each request's view run for its tenant."""

    def respond(request):
        with tenants.active(Subdomains().of_request(request)):
            return get_response(request)

    return respond

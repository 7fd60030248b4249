"""The nonce of a page's content security policy, whichever middleware makes it."""

from __future__ import annotations

from typing import Any

from django.template import Context, context_processors

_of_django = getattr(context_processors, "csp", lambda request: {"csp_nonce": None})  # since Django 6


def nonce_of(request: Any, context: Context) -> str:
    """Return the page's nonce: of ``csp_nonce`` in the context, of the request, or of Django's middleware; else "".

    Nonces are lazy: each is false until it is read, and only one that was read gets into the response's header.
    """
    for found in (context.get("csp_nonce"), getattr(request, "csp_nonce", None), _of_django(request)["csp_nonce"]):
        if found is not None:
            return str(found)
    return ""

"""Checks that browsers get the client's script: without it no page is live, however well the endpoints answer."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urljoin, urlsplit

from django.templatetags.static import static

from livepush.doctor import web
from livepush.doctor.check import Check, describe_error
from livepush.doctor.problems import Problem
from livepush.doctor.site import TROUBLES, Site, summary_of

SCRIPT = "livepush/livepush.js"
REDIRECTS = (301, 302, 303, 307, 308)
MAX_REDIRECTS = 3


def check_script(check: Check, site: Site) -> None:
    """Check that the script of ``{% livepush %}`` comes as JavaScript, from this site or where ``STATIC_URL`` leads."""
    try:
        addresses = list(_addresses(site))
    except Exception as error:  # a storage of the project's, or a manifest that is elsewhere
        check.skip(f"The client's script was not looked for, since its address is not known: {describe_error(error)}.")
        return
    seen = []
    for address in addresses:
        try:
            answer = _fetched(site, address)
        except TROUBLES as error:
            if urlsplit(address).netloc != site.root.netloc:  # perhaps browsers reach it, and this host does not
                check.skip(f"The client's script was not looked into: {address} gives {describe_error(error)}.")
                return
            seen.append(f"{address} gives {describe_error(error)}")
            continue
        if 200 <= answer.status < 300 and "javascript" in answer.headers.get_content_type():
            check.say(f"{address} is there", script=address)
            return
        seen.append(f"{address} answers {summary_of(answer)}")
    check.find(Problem.NO_SCRIPT, "; ".join(seen))


def _addresses(site: Site) -> Iterator[str]:
    """Yield where the script may be: below the host, and below the root's own path, as a relative ``STATIC_URL`` is."""
    path = static(SCRIPT)
    yield urljoin(f"{site.root.origin}/", path)
    if site.root.path and path.startswith("/") and not path.startswith(("//", f"{site.root.path}/")):
        yield f"{site.root.origin}{site.root.path}{path}"


def _fetched(site: Site, address: str) -> web.Answer:
    """Ask for an address, and follow it where it leads. Raises what ``web.get`` does."""
    for _ in range(MAX_REDIRECTS):
        parts = urlsplit(address)
        root = web.parse_root(f"{parts.scheme}://{parts.netloc}")
        if root.origin == site.root.origin:  # a host of static files elsewhere must not learn the password
            root = root._replace(login=site.root.login)
        answer = web.get(root, parts._replace(scheme="", netloc="", fragment="").geturl() or "/", site.timeout)
        if answer.status not in REDIRECTS or not answer.headers.get("Location"):
            break
        address = urljoin(address, answer.headers["Location"])
    return answer

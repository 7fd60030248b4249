"""The scenes of the demo: what the front page's tiles show, and what each scene's page says about its code.

To add a scene:

1. Append a ``Scene`` to ``SCENES``. That makes its tile; ``url`` is the name of the scene's page in ``urls.py``.
2. Mark the lines that make it, in the files that run: a line ``# scene: chat`` before them and ``# scene: end`` after
   them (``// scene: chat`` in a script, ``{# scene: chat #}`` in a template). Lines of several files, or several
   places of one file, are shown in the order of ``files``. A range may belong to several scenes:
   ``# scene: board orders``. Ten lines at most in all, without the blank ones.
3. Put ``{% scene_code "chat" %}`` where the scene's page shows them (``{% load showcase %}``).
4. Draw ``templates/showcase/pictures/<slug>.svg``: 160 by 90, in the classes of ``home.css`` (``p-line``,
   ``p-fill``, ``p-mark`` and so on), so that it fits light, dark and forced colours. Without one, the tile has none.

``tests/test_demo_scenes.py`` then checks the scene: its page answers, its code is true and short, and its link into the
manual leads to a heading that exists.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Scene:
    """One tile of the front page."""

    slug: str
    title: str
    line: str
    """One sentence that says what a visitor sees there."""
    url: str
    """The name of the scene's page."""
    files: tuple[str, ...]
    """The files that its code is taken from, from the top of the repository."""
    manual: str
    """Its part of the manual: a page, and a heading's anchor if the page has several topics."""

    @property
    def picture(self) -> str:
        """The template of its picture."""
        return f"showcase/pictures/{self.slug}.svg"


SCENES = (
    Scene(
        slug="board",
        title="Parcel board",
        line="Every parcel moves on every screen, a moment after it is saved.",
        url="board",
        files=("demo_project/parcels/live.py", "templates/parcels/board.html", "demo_project/static/demo/board.js"),
        manual="sending#send-when-a-model-changes",
    ),
    Scene(
        slug="orders",
        title="Order tracking",
        line="Customers follow their own orders. Nobody else hears of them.",
        url="orders",
        files=("demo_project/parcels/live.py", "templates/parcels/orders.html", "demo_project/static/demo/orders.js"),
        manual="rules#a-users-own-group",
    ),
    Scene(
        slug="chat",
        title="Chat",
        line="Who is here, typing, read receipts, and messages that are sent once, even from a train.",
        url="conversations",
        files=(
            "demo_project/parcels/live.py",
            "templates/parcels/conversation.html",
            "demo_project/static/demo/talk.js",
        ),
        manual="recipes/chat",
    ),
    Scene(
        slug="online",
        title="Who is online",
        line="People come, look away and go. Whoever has two tabs open is shown once.",
        url="online",
        files=("demo_project/showcase/live.py", "templates/showcase/online.html", "demo_project/static/demo/online.js"),
        manual="presence#show-who-is-there",
    ),
    Scene(
        slug="cursors",
        title="Cursors",
        line="Everyone sees everyone move, logged in or not.",
        url="together",
        files=("demo_project/parcels/live.py", "demo_project/static/demo/together.js"),
        manual="recipes/cursors",
    ),
    Scene(
        slug="answer",
        title="AI answer",
        line="It is written word by word, and survives a reload half-way. The text is prepared: no AI model is called.",
        url="assistant",
        files=("demo_project/parcels/errands.py", "templates/parcels/_stream.html"),
        manual="recipes/answers",
    ),
    Scene(
        slug="job",
        title="Job progress",
        line="The bar and the log are the same in two tabs, and outlive the server.",
        url="jobs",
        files=("demo_project/parcels/errands.py", "templates/parcels/_stream.html"),
        manual="recipes/logs",
    ),
    Scene(
        slug="metrics",
        title="Dashboard",
        line="Three charts tick each second, and have no hole after an outage.",
        url="metrics",
        files=(
            "demo_project/showcase/metrics.py",
            "templates/showcase/metrics.html",
            "demo_project/static/demo/metrics.js",
        ),
        manual="recipes/dashboard",
    ),
    Scene(
        slug="checks",
        title="Checks turning green",
        line="Start the checks, and watch each one run and pass in every tab.",
        url="checks",
        files=("demo_project/showcase/live.py", "demo_project/static/demo/checks.js"),
        manual="sending#send-when-a-model-changes",
    ),
    Scene(
        slug="fragments",
        title="Live HTML, no JavaScript",
        line="The server renders a list again when something happens. The page has no script of its own.",
        url="fragments",
        files=("templates/showcase/fragments.html",),
        manual="recipes/changes",
    ),
    Scene(
        slug="bell",
        title="The bell",
        line="Send yourself a notification, now or later, and archive it on any device.",
        url="bell",
        files=("demo_project/showcase/letters.py", "templates/base.html"),
        manual="inbox#send-a-notification",
    ),
    Scene(
        slug="terminal",
        title="From a terminal",
        line="A native client reads the same events with curl and a bearer token.",
        url="terminal",
        files=("demo_project/showcase/views.py",),
        manual="recipes/native",
    ),
    Scene(
        slug="publish",
        title="From another program",
        line="A scanner, a cron job or a service in any language publishes with one HTTP request.",
        url="publish",
        files=(
            "demo_project/showcase/live.py",
            "demo_project/showcase/publishing.py",
            "demo_project/static/demo/publish.js",
        ),
        manual="publishing#publish-events",
    ),
    Scene(
        slug="pusher",
        title="Pusher's own library",
        line="pusher-js follows the board, as it is, without an account with Pusher.",
        url="pusher",
        files=("demo_project/settings.py", "demo_project/static/demo/pusher.js"),
        manual="pusher#connect",
    ),
    Scene(
        slug="eventstream",
        title="A plain EventSource",
        line="Code and pages written for django-eventstream go on, and lose nothing.",
        url="eventstream",
        files=("demo_project/urls.py", "demo_project/showcase/bridged.py", "demo_project/static/demo/eventstream.js"),
        manual="eventstream",
    ),
    Scene(
        slug="webhooks",
        title="Signed webhooks",
        line="A partner gets each event as a signed request, again and again until it says yes.",
        url="webhooks",
        files=("demo_project/settings.py", "demo_project/showcase/partner.py"),
        manual="outwards#webhooks",
    ),
    Scene(
        slug="figures",
        title="What the server does",
        line="Clients, deliveries and bytes of all processes, as Prometheus reads them.",
        url="figures",
        files=("demo_project/settings.py", "demo_project/static/demo/figures.js"),
        manual="monitoring",
    ),
)
"""In the order of the tiles."""


def scene(slug: str) -> Scene:
    """Return a scene. Raises KeyError: there is none of this name."""
    return {each.slug: each for each in SCENES}[slug]

from __future__ import annotations

import zlib
from typing import Any

from django import template
from django.template import TemplateDoesNotExist
from django.template.loader import get_template
from django.utils.html import format_html
from django.utils.safestring import SafeString

from demo_project.showcase.icons import ICONS
from demo_project.showcase.scenes import scene
from demo_project.showcase.snippets import called, snippets

register = template.Library()

COATS = ("#7b4cd6", "#1668dc", "#128a4a", "#b4540a", "#b3261e", "#0b7285", "#5f6b2d", "#a1337d")
SKINS = ("#f4cfae", "#dca57d", "#a86f4a", "#6f4630")
CROWNS = (
    "M9 14a7 7 0 0 1 14 0c-3-1-5-3-6-4-2 3-5 4-8 4Z",
    "M8.500 17c-1-9 4-11 7.500-11s8.500 2 7.500 11l-2-5H10.500Z",
)
HAIRS = ("#2b1d16", "#5b3a22", "#a5692b", "#3d3d46", "#8f3b2a")

AVATAR = (
    '<svg class="avatar" viewBox="0 0 32 32" width="{0}" height="{0}" aria-hidden="true">'
    '<circle cx="16" cy="16" r="16" fill="{1}" opacity=".22"/>'
    '<path d="M5 30a11 9.500 0 0 1 22 0 16 16 0 0 1-22 0Z" fill="{1}"/>'
    '<circle cx="16" cy="14" r="6.500" fill="{2}"/><path d="{3}" fill="{4}"/></svg>'
)
"""A bust in a circle: its size, coat, skin, hair's shape and hair's colour."""


@register.inclusion_tag("showcase/_code.html")
def scene_code(slug: str) -> dict[str, Any]:
    """Show the lines that make a scene, with a link to its part of the manual."""
    found = scene(slug)
    page, _, anchor = found.manual.partition("#")
    parts = {"snippets": snippets(found), "called": called(found)}
    return {"scene": found, **parts, "page": page, "anchor": anchor}


@register.simple_tag
def scene_picture(slug: str) -> SafeString | str:
    """Draw a scene's picture, if there is one."""
    try:
        return get_template(scene(slug).picture).render()
    except TemplateDoesNotExist:
        return ""


@register.simple_tag
def icon(name: str) -> SafeString:
    """Draw an icon beside the text that says the same."""
    return format_html(
        '<svg class="icon" viewBox="0 0 24 24" width="20" height="20" aria-hidden="true"><path d="{}"/></svg>',
        ICONS[name],
    )


@register.filter
def full_name(user: Any) -> str:
    """Return what a user is called."""
    return str(user.get_full_name() or user.get_username())


@register.simple_tag
def avatar(user: Any, size: int = 32) -> SafeString:
    """Draw a user, who may be given by the username: always the same coat, skin and hair."""
    name = user if isinstance(user, str) else user.get_username()
    dice = zlib.crc32(f"Larkpost: {name}".encode())

    return format_html(
        AVATAR, size, COATS[dice % 8], SKINS[dice // 8 % 4], CROWNS[dice // 160 % 2], HAIRS[dice // 32 % 5]
    )

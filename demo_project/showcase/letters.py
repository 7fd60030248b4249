"""Notifications that visitors send: at once, or later by the shop's worker, which a killed server does not stop."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django import forms
from django.contrib.auth.models import User
from django.db import transaction
from django.utils import timezone

import livepush
from demo_project.parcels.shop import demo_customer
from demo_project.showcase.models import Letter

TITLES = {
    "en": "Your parcel is at the door",
    "de": "Ihr Paket steht vor der Tür",
    "fr": "Votre colis est devant la porte",
    "es": "Su paquete está en la puerta",
    "ja": "お荷物が玄関に届きました",
    "ar": "طردك عند الباب",
}
"""The title that is sent if a visitor writes none, by language."""
LANGUAGES = (
    ("en", "English"), ("de", "Deutsch"), ("fr", "Français"), ("es", "Español"), ("ja", "日本語"), ("ar", "العربية"),
)  # fmt: skip
LEVELS = (("info", "Info"), ("success", "Success"), ("warning", "Warning"), ("error", "Error"))
DELAYS = ((0, "Now"), (5, "In 5 seconds"), (30, "In 30 seconds"))
ME, CUSTOMER, EVERYONE = "me", "customer", "everyone"
CODE = {
    ME: "request.user",
    CUSTOMER: 'User.objects.get(username="demo")',
    EVERYONE: "livepush.everyone",
}
"""How the recipients are written in Python."""


class LetterForm(forms.Form):
    """The notification that a visitor wants to send. Only the staff may write to others."""

    title = forms.CharField(max_length=120, required=False)
    language = forms.ChoiceField(choices=LANGUAGES, initial="en")
    level = forms.ChoiceField(choices=LEVELS, initial="success")
    audience = forms.ChoiceField(choices=((ME, "Me"),), initial=ME)
    delay = forms.TypedChoiceField(choices=DELAYS, coerce=int, initial=0)

    def __init__(self, user: Any, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if user.is_staff:
            audience = self.fields["audience"]
            assert isinstance(audience, forms.ChoiceField)
            audience.choices = ((ME, "Me"), (CUSTOMER, "Ada, a customer"), (EVERYONE, "Everyone"))

    def clean_title(self) -> str:
        """Return the title as one line: what no reader sees becomes a space."""
        title: str = self.cleaned_data["title"]
        return " ".join("".join(sign if sign.isprintable() else " " for sign in title).split())

    def clean(self) -> dict[str, Any]:
        """Return what was chosen; an empty title becomes the language's own."""
        cleaned = dict(super().clean() or {})
        cleaned["title"] = cleaned.get("title") or TITLES.get(cleaned.get("language", "en"), "")
        return cleaned


def write(author: User, form: LetterForm) -> Letter:
    """Send what a form says, or keep it until it is due."""
    chosen = form.cleaned_data
    letter = Letter(
        author=author, audience=chosen["audience"], title=chosen["title"], level=chosen["level"],
        due=timezone.now() + timedelta(seconds=chosen["delay"]),
    )  # fmt: skip
    if chosen["delay"]:
        letter.save()
    else:
        send(letter)
    return letter


# scene: bell
def send(letter: Letter) -> None:
    livepush.notify(recipients(letter), letter.title, level=letter.level, category="news", url="/bell/")


# scene: end


def recipients(letter: Letter) -> Any:
    """Return whom a letter is for."""
    if letter.audience == EVERYONE:
        return livepush.everyone
    return demo_customer() if letter.audience == CUSTOMER else letter.author


def code_of(letter: Letter) -> str:
    """Return the line of Python that sends a letter."""
    return (
        f'livepush.notify({CODE[letter.audience]}, {letter.title!r}, level="{letter.level}", '
        'category="news", url="/bell/")'
    )


def send_due() -> int:
    """Send the letters that are due, each once; return how many there were."""
    due = list(Letter.objects.filter(due__lte=timezone.now()))
    for letter in due:
        with transaction.atomic():
            if Letter.objects.filter(pk=letter.pk).delete()[0]:
                send(letter)
    return len(due)

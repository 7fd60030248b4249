"""The tables of publishing over HTTP: API keys, and receipts of requests that must not be done twice."""

from __future__ import annotations

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from livepush.fields import ExactCharField, ExactTextField, SearchedCharField

MAX_PREFIX_LENGTH = 16
MAX_IDEMPOTENCY_KEY = 200


class ApiKey(models.Model):
    """A key with which a program publishes. The key itself is not stored, only digests of its secret."""

    name = SearchedCharField(_("name"), max_length=100, help_text=_("Who uses the key"))
    prefix = ExactCharField(_("prefix"), max_length=MAX_PREFIX_LENGTH, unique=True, editable=False)
    digest = models.CharField(max_length=64, editable=False)
    old_digest = models.CharField(max_length=64, blank=True, editable=False)
    old_ends = models.DateTimeField(null=True, editable=False)
    tenant = ExactCharField(_("tenant"), max_length=63, blank=True, editable=False)
    groups = ExactTextField(_("groups"), blank=True, help_text=_("Patterns such as order:*, one on each line"))
    types = ExactTextField(_("types"), blank=True, default="*", help_text=_("Patterns such as order.*"))
    recipients = ExactTextField(
        _("recipients"), blank=True, help_text=_("Patterns of whom the key may notify: user:*, team:*, everyone")
    )
    created = models.DateTimeField(_("created"), default=timezone.now, editable=False)
    expires = models.DateTimeField(_("expires"), null=True, blank=True)
    revoked = models.DateTimeField(_("revoked"), null=True, editable=False)
    last_used = models.DateTimeField(_("last used"), null=True, editable=False)

    class Meta:
        verbose_name = _("API key")
        verbose_name_plural = _("API keys")

    def __str__(self) -> str:
        return str(self.name)


class PublishReceipt(models.Model):
    """A request that was carried out: the same request with the same idempotency key gets the same answer."""

    owner = ExactCharField(max_length=MAX_PREFIX_LENGTH)
    key = ExactCharField(max_length=MAX_IDEMPOTENCY_KEY)
    fingerprint = models.CharField(max_length=64)
    marker = models.CharField(max_length=32)
    created = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["owner", "key"], name="livepush_published_once")]
        indexes = [models.Index(fields=["created"], name="livepush_published_created")]

    def __str__(self) -> str:
        return str(self.key)

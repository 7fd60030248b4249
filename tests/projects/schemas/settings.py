"""A site of django-tenants: each tenant has a schema with users, sessions and notes of its own."""

from __future__ import annotations

import json
import os

SECRET_KEY = "tests-only"
ALLOWED_HOSTS = [".localhost", "127.0.0.1"]
SHARED_APPS = ["django_tenants", "tests.projects.schemas.customers", "django.contrib.contenttypes", "livepush"]
TENANT_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "django.contrib.sessions",
    "tests.projects.schemas.notes",
    *json.loads(os.environ.get("SCHEMAS_TENANT_APPS", "[]")),
]
INSTALLED_APPS = [*SHARED_APPS, *(app for app in TENANT_APPS if app not in SHARED_APPS)]
TENANT_MODEL = "customers.Customer"
TENANT_DOMAIN_MODEL = "customers.Domain"
DATABASES = {
    "default": {
        "ENGINE": "django_tenants.postgresql_backend",
        "NAME": os.environ["SCHEMAS_DATABASE"],
        "USER": "postgres",
        "HOST": os.environ["SCHEMAS_HOST"],
    }
}
DATABASE_ROUTERS = ["django_tenants.routers.TenantSyncRouter"]
MIDDLEWARE = [
    "django_tenants.middleware.main.TenantMainMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {"context_processors": ["django.template.context_processors.request"]},
    }
]
ROOT_URLCONF = "tests.projects.schemas.urls"
ASGI_APPLICATION = "tests.asgi.application"
STATIC_URL = "/static/"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
LIVEPUSH = json.loads(os.environ.get("SCHEMAS_LIVEPUSH", '{"TENANT": "livepush.tenants.DjangoTenants"}'))

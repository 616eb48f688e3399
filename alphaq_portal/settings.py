"""Django's settings, composed from alphaq_portal.env; nothing is read from the environment here."""

from __future__ import annotations

import sys
from typing import Any

from csp.constants import NONE, SELF, UNSAFE_EVAL, UNSAFE_INLINE

from alphaq_portal import env as _env
from alphaq_portal import logs
from alphaq_portal.chrome import UNFOLD  # noqa: F401  (Unfold reads it from here)

try:
    ENV = _env.read()
except _env.EnvError as _error:
    sys.exit(str(_error))

VERSION = "0.1.0"
BASE_DIR = _env.BASE_DIR
SECRET_KEY = ENV.secret_key
DEBUG = ENV.debug
ALLOWED_HOSTS = ENV.allowed_hosts
CSRF_TRUSTED_ORIGINS = ENV.csrf_origins
ROOT_URLCONF = "alphaq_portal.urls"
WSGI_APPLICATION = "alphaq_portal.wsgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
TIME_ZONE = "UTC"
USE_TZ = True
LANGUAGE_CODE = "en"
USE_I18N = True
FORMAT_MODULE_PATH = ["alphaq_portal.formats"]

INSTALLED_APPS = [
    "unfold",
    "unfold.contrib.filters",
    "unfold.contrib.simple_history",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.forms",
    "simple_history",
    "axes",
    "django_prometheus",
    "monitoring",
    "alerts",
    "alphaq_portal",
]

MIDDLEWARE = [
    "alphaq_portal.request_log.RequestLogMiddleware",
    "django_prometheus.middleware.PrometheusBeforeMiddleware",
    "alphaq_portal.machines.MachineMiddleware",  # all after it are for people
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.middleware.gzip.GZipMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "alphaq_portal.profile_hooks.ProfileMiddleware",
    "alphaq_portal.csp.PageCspMiddleware",
    "simple_history.middleware.HistoryRequestMiddleware",
    "axes.middleware.AxesMiddleware",
    "django_prometheus.middleware.PrometheusAfterMiddleware",
]

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
# Unfold's widgets are templates of installed apps; the default form renderer would not find them.
FORM_RENDERER = "django.forms.renderers.TemplatesSetting"


def _database(database: _env.Database) -> dict[str, Any]:
    return {
        "ENGINE": "alphaq_portal.postgres",
        "NAME": database.name,
        "USER": database.user,
        "PASSWORD": database.password,
        "HOST": database.host,
        "PORT": database.port,
        "CONN_MAX_AGE": 60,
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": {"connect_timeout": "5", "application_name": "alphaq", **database.options},
    }


DATABASES = {"default": _database(ENV.database)}
REDIS_URL = ENV.redis.url
CACHES = {
    "default": {
        "BACKEND": "django_prometheus.cache.backends.redis.NativeRedisCache",
        "LOCATION": ENV.redis.url,
        "KEY_PREFIX": "alphaq",
        "TIMEOUT": 300,
    }
}

AUTHENTICATION_BACKENDS = ["axes.backends.AxesStandaloneBackend", "django.contrib.auth.backends.ModelBackend"]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("UserAttributeSimilarityValidator", "MinimumLengthValidator", "CommonPasswordValidator")
]
LOGIN_URL = "admin:login"
LOGIN_REDIRECT_URL = "admin:index"
AXES_FAILURE_LIMIT = 10
AXES_COOLOFF_TIME = 0.25  # hours
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_VERBOSE = False

SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
SESSION_COOKIE_HTTPONLY = True
# A rule with a thousand rows of limits is a form of twenty fields a row; the size of a request stays bounded.
DATA_UPLOAD_MAX_NUMBER_FIELDS = 30_000
_https = ENV.external_url.startswith("https://")
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = _https
if ENV.trusted_proxies:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
# Unfold's Alpine evaluates attribute strings, hence UNSAFE_EVAL; no inline script is allowed.
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [SELF],
        "script-src": [SELF, UNSAFE_EVAL],
        "style-src": [SELF, UNSAFE_INLINE],
        "img-src": [SELF, "data:"],
        "frame-ancestors": [NONE],
        "base-uri": [SELF],
        "form-action": [SELF],
    }
}

STATIC_URL = "static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
STATICFILES_DIRS: list[Any] = [BASE_DIR / "static"]
# Fetched by `npm ci` where npm is; without it the pages draw with what Unfold bundles.
_uplot = BASE_DIR / "node_modules" / "uplot" / "dist"
if _uplot.is_dir():
    STATICFILES_DIRS.append(("vendor/uplot", _uplot))
# Serving from the finders makes collectstatic unnecessary; a deployment that collects is served all the same.
WHITENOISE_USE_FINDERS = True
WHITENOISE_AUTOREFRESH = DEBUG

PROMETHEUS_EXPORT_MIGRATIONS = False
PROMETHEUS_LATENCY_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, float("inf"))

EMAIL_HOST = ENV.email.host
EMAIL_PORT = ENV.email.port
EMAIL_HOST_USER = ENV.email.user
EMAIL_HOST_PASSWORD = ENV.email.password
EMAIL_USE_TLS = ENV.email.security == "starttls"
EMAIL_USE_SSL = ENV.email.security == "tls"
EMAIL_TIMEOUT = ENV.email.timeout_seconds
DEFAULT_FROM_EMAIL = SERVER_EMAIL = ENV.email.sender

LOGGING_CONFIG = None
try:
    logs.configure(ENV.log_level, ENV.log_dir, ENV.redis.url, _env.secret_values(ENV))
except logs.LogFolderError as _error:
    sys.exit(str(_error))

"""Every address of the portal."""

from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path
from django.views.generic import RedirectView

from alphaq_portal import errors, home, log_views, probes

urlpatterns: list[URLPattern | URLResolver] = [
    path("", RedirectView.as_view(pattern_name="admin:index"), name="home"),
    path("health", probes.health, name="health"),
    path("health/", probes.health),
    path("ready", probes.Ready.as_view(), name="ready"),
    path("ready/", probes.Ready.as_view()),
    path("pulse.json", home.pulse, name="pulse"),
    path("log/", log_views.RecentLog.as_view(), name="log"),
    path("metrics", probes.metrics, name="metrics"),
    path("", include("monitoring.urls")),
    path("", include("alerts.urls")),
    path("admin/", admin.site.urls),
]

handler400 = errors.bad_request
handler403 = errors.forbidden
handler404 = errors.not_found
handler500 = errors.broken

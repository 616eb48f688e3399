"""Addresses of the pages of what is watched."""

from django.urls import include, path

from monitoring import views

app_name = "monitoring"
urlpatterns = [
    path("api/v1/", include("monitoring.api")),
    path("hosts/<path:name>/", views.HostPage.as_view(), name="host"),
    path("charts/<slug:name>.json", views.chart_json, name="chart"),
]

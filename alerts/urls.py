"""Addresses of the alerts app's pages."""

from django.urls import include, path

from alerts import interactions, views

app_name = "alerts"
urlpatterns = [
    path("api/v1/", include("alerts.api")),
    path("alerts/", views.AlertList.as_view(), name="alerts"),
    path("alerts/<int:pk>/", views.AlertPage.as_view(), name="alert"),
    path("alerts/<int:pk>/chart.json", views.chart_json, name="alert_chart"),
    path("alerts/<int:pk>/<slug:verb>/", views.act, name="alert_act"),
    path("alerts/<int:pk>/silence/new/", views.SilencePage.as_view(), name="alert_silence"),
    path("slack/interactions", interactions.receive, name="slack_interactions"),
    path("setup/slack/me/", interactions.LinkSlack.as_view(), name="slack_link"),
    path("setup/slack/", views.ConnectSlack.as_view(), name="connect_slack"),
]

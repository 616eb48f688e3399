"""Addresses of the alerts app's pages."""

from django.urls import include, path

from alerts import (
    amapi,
    amfile_views,
    backtest_views,
    interactions,
    rule_views,
    rulefile_views,
    sheet_views,
    silence_views,
    views,
    why_views,
)
from alerts.admin.silence_windows import SilenceWindows

app_name = "alerts"
urlpatterns = [
    path("api/v1/", include("alerts.api")),
    path("api/v1/import/", include("alerts.import_views")),
    path("api/v2/", include("alerts.amapi")),
    path("routes/import/", amfile_views.ImportAlertmanager.as_view(), name="alertmanager_import"),
    path("routes/export.yml", amfile_views.ExportAlertmanager.as_view(), name="alertmanager_export"),
    path("-/healthy", amapi.healthy, name="healthy"),
    path("-/ready", amapi.ready, name="ready"),
    path("alerts/", views.AlertList.as_view(), name="alerts"),
    path("alerts/<int:pk>/", views.AlertPage.as_view(), name="alert"),
    path("alerts/<int:pk>/chart.json", views.chart_json, name="alert_chart"),
    path("alerts/<int:pk>/why/", why_views.AlertWhyPage.as_view(), name="alert_why"),
    path("backtests/", backtest_views.BacktestList.as_view(), name="backtests"),
    path("backtests/<int:pk>/", backtest_views.BacktestPage.as_view(), name="backtest"),
    path("backtests/<int:pk>/state.json", backtest_views.state_json, name="backtest_state"),
    path("backtests/<int:pk>/again/", backtest_views.Again.as_view(), name="backtest_again"),
    path("backtests/<int:pk>/stop/", backtest_views.Stop.as_view(), name="backtest_stop"),
    path("why/", why_views.WhyPage.as_view(), name="why"),
    path("routes/test/", why_views.RouteTestPage.as_view(), name="route_test"),
    path("rules/<int:pk>/history/", rule_views.RuleHistory.as_view(), name="rule_history"),
    path("rules/limits/", sheet_views.LimitSheet.as_view(), name="limit_sheet"),
    path("rules/bulk/", rule_views.RulesBulk.as_view(), name="rules_bulk"),
    path("rules/import/", rulefile_views.ImportRules.as_view(), name="rules_import"),
    path("rules/export/", rulefile_views.ExportRules.as_view(), name="rules_export"),
    path("rules/<int:pk>/test-fire/", why_views.TestFirePage.as_view(), name="test_fire"),
    path("alerts/<int:pk>/<slug:verb>/", views.act, name="alert_act"),
    path("alerts/<int:pk>/silence/new/", silence_views.SilencePage.as_view(), name="alert_silence"),
    path("slack/interactions", interactions.receive, name="slack_interactions"),
    path("setup/slack/me/", interactions.LinkSlack.as_view(), name="slack_link"),
    path("silences/windows/", SilenceWindows.as_view(), name="silence_windows"),
    path("setup/slack/", views.ConnectSlack.as_view(), name="connect_slack"),
]

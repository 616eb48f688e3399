"""Addresses of the pages of what is watched."""

from django.urls import include, path

from monitoring import (
    cardinality_views,
    dashboard_views,
    explore_views,
    model_views,
    profile_views,
    system_views,
    target_views,
    views,
)

app_name = "monitoring"
urlpatterns = [
    path("api/v1/", include("monitoring.api")),
    path("hosts/<path:name>/", views.HostPage.as_view(), name="host"),
    path("models/<path:name>/panels/<int:number>.json", model_views.panel_json, name="model_panel"),
    path("models/<path:name>/marks.json", model_views.marks_json, name="model_marks"),
    path("models/<path:name>/", model_views.ModelPage.as_view(), name="model"),
    path("charts/<slug:name>.json", views.chart_json, name="chart"),
    path("dashboards/", dashboard_views.DashboardList.as_view(), name="dashboards"),
    path("dashboards/import/", dashboard_views.ImportPage.as_view(), name="import_dashboard"),
    path("dashboards/<slug:slug>/", dashboard_views.DashboardPage.as_view(), name="dashboard"),
    path("dashboards/<slug:slug>/export.json", dashboard_views.export_json, name="export_dashboard"),
    path("dashboards/<slug:slug>/marks.json", dashboard_views.marks_json, name="dashboard_marks"),
    path("dashboards/<slug:slug>/panels/<int:number>.json", dashboard_views.panel_json, name="panel"),
    path("system/", system_views.SystemPage.as_view(), name="system"),
    path("system/cardinality/", cardinality_views.CardinalityPage.as_view(), name="cardinality"),
    path("explore/", explore_views.ExplorePage.as_view(), name="explore"),
    path("explore/answer.json", explore_views.answer_json, name="explore_answer"),
    path("explore/names.json", explore_views.names_json, name="explore_names"),
    path("targets/<int:pk>/", target_views.TargetPage.as_view(), name="target"),
    path("profiles/<int:pk>/", profile_views.ProfilePage.as_view(), name="profile"),
    path("profiles/<int:pk>/file.prof", profile_views.prof_file, name="profile_file"),
]

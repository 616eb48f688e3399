"""Labels and relabelling that every alert gets on its way out; one row."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

from alerts.admin.fields import PairsWidget
from alerts.admin.listing import AlertsHistoryAdmin
from alerts.models import GlobalConfig
from alphaq_portal.ui import display


@admin.register(GlobalConfig)
class GlobalConfigAdmin(AlertsHistoryAdmin):
    """What holds for all rules and alerts; a prometheus.yml may bring it."""

    list_display = ["what", "added", "rules", "managed_by"]
    readonly_fields = ["managed_by"]
    fieldsets = [
        ("Alerts on their way out", {"fields": ["external_labels", "alert_relabel_configs"]}),
        ("Imported groups", {"fields": [("evaluation_interval_seconds", "query_offset_seconds"), "managed_by"]}),
    ]
    empty_icon, empty_title = "public", "Nothing is added to alerts."
    empty_text = "External labels say which portal an alert comes from; relabel rules change or drop labels."

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        """Labels as pairs."""
        return super().get_form(request, obj, change, **{"widgets": {"external_labels": PairsWidget()}, **kwargs})

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """There is one row at most."""
        return super().has_add_permission(request) and not GlobalConfig.objects.exists()

    def save_model(self, request: HttpRequest, obj: GlobalConfig, form: Any, change: bool) -> None:
        """Save as the one row."""
        obj.pk = 1
        super().save_model(request, obj, form, change)

    class Media:
        """Pairs of name and text."""

        js = ["js/pairs.js"]

    @display(description="Settings")
    def what(self, row: GlobalConfig) -> str:
        """The name of the row."""
        return str(row)

    @display(description="External labels")
    def added(self, row: GlobalConfig) -> SafeString | str:
        """What is added."""
        pairs = ", ".join(f'{name}="{text}"' for name, text in row.external_labels.items())
        return format_html('<code class="aq-mono">{}</code>', pairs) if pairs else "none"

    @display(description="Relabel rules")
    def rules(self, row: GlobalConfig) -> int:
        """How many."""
        return len(row.alert_relabel_configs)

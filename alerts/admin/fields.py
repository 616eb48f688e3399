"""Fields of the forms: matchers a line each, label names, pairs, secrets that are written and never shown."""

from __future__ import annotations

import json
from typing import Any

from django import forms
from django.core.exceptions import ValidationError

from alerts.models.routing import clean_matchers
from alphaq_portal.ui import JsonWidget, UnfoldAdminTextareaWidget, UnfoldAdminTextInputWidget


class PromqlWidget(UnfoldAdminTextareaWidget):
    """A monospaced field with completion, and the live check under it; without JavaScript it is just a field."""

    template_name = "admin/alerts/widgets/promql.html"

    def __init__(self, attrs: dict[str, Any] | None = None) -> None:
        given = {
            "rows": 3, "class": "aq-mono", "spellcheck": "false", "autocapitalize": "off", "autocomplete": "off",
            "data-aq-promql": "",
        }  # fmt: skip
        super().__init__({**given, **(attrs or {})})


class PairsWidget(JsonWidget):
    """A JSON object of texts; the browser turns it into rows of name and value."""

    template_name = "admin/alerts/widgets/pairs.html"

    def __init__(self, attrs: dict[str, Any] | None = None) -> None:
        super().__init__({"data-aq-pairs": "", **(attrs or {})})

    def format_value(self, value: Any) -> Any:
        """Indent valid JSON so that it is readable without JavaScript; leave anything else as it was typed."""
        try:
            return json.dumps(json.loads(value), indent=1, ensure_ascii=False) if value else value
        except (TypeError, ValueError):
            return value


class MatchersWidget(UnfoldAdminTextareaWidget):
    """Matchers, one a line; the browser shows them as chips as well."""

    def __init__(self, attrs: dict[str, Any] | None = None) -> None:
        given = {"rows": 3, "class": "aq-mono", "spellcheck": "false", "placeholder": 'severity="critical"'}
        super().__init__({**given, **(attrs or {})})


class LinesField(forms.CharField):
    """A list of texts, one a line."""

    widget = MatchersWidget

    def __init__(self, **kwargs: Any) -> None:
        # A form field made from a JSONField gets these; they mean nothing for lines.
        for name in ("encoder", "decoder", "max_length"):
            kwargs.pop(name, None)
        super().__init__(**kwargs)

    def prepare_value(self, value: Any) -> Any:
        """Lines for a list; what was typed stays."""
        return "\n".join(map(str, value)) if isinstance(value, list) else value

    def to_python(self, value: Any) -> list[str]:  # type: ignore[override]
        """The lines that are not empty."""
        if isinstance(value, list):
            return value
        _refuse_null(value)
        return [line.strip() for line in (value or "").splitlines() if line.strip()]

    def validate(self, value: Any) -> None:
        """Refuse an empty list where one is required."""
        if self.required and not value:
            raise ValidationError(self.error_messages["required"], code="required")

    def run_validators(self, value: Any) -> None:
        """The model's validators see the list; a text's would not understand it."""

    def has_changed(self, initial: Any, data: Any) -> bool:
        """Compare as lists."""
        return self.to_python(self.prepare_value(initial)) != self.to_python(data)


def _refuse_null(value: Any) -> None:
    if "\x00" in (value or ""):
        raise ValidationError("A null character is not allowed.")


class MatchersField(LinesField):
    """Matchers such as `severity="critical"`, one a line."""

    def validate(self, value: Any) -> None:
        """Refuse what is no matcher, naming the line."""
        super().validate(value)
        clean_matchers(value)


class NamesField(LinesField):
    """Label names between commas; with `empty` None, an empty field means None."""

    widget = UnfoldAdminTextInputWidget

    def __init__(self, *, empty_is_none: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.empty_is_none = empty_is_none

    def prepare_value(self, value: Any) -> Any:
        """Names between commas."""
        return ", ".join(map(str, value)) if isinstance(value, list) else value

    def to_python(self, value: Any) -> list[str] | None:  # type: ignore[override]
        """The names; None for an empty field where that means “as the parent”."""
        if isinstance(value, list):
            return value
        _refuse_null(value)
        names = [name.strip() for name in (value or "").replace("\n", ",").split(",") if name.strip()]
        return None if not names and self.empty_is_none else names


class SecretWidget(UnfoldAdminTextInputWidget):
    """A field for a secret: what is stored never reaches the page, only its last characters do."""

    input_type = "password"

    def __init__(self, attrs: dict[str, Any] | None = None) -> None:
        super().__init__({"autocomplete": "new-password", **(attrs or {})})

    def format_value(self, value: Any) -> None:
        """Nothing, ever."""


def last_four(secret: str) -> str:
    """What may be shown of a secret: its last four characters, none of a short one."""
    return f"•••• {secret[-4:]}" if len(secret) >= 12 else ("••••" if secret else "")


class SecretsMixin:
    """A model form whose `secrets` keep what is stored when the field is left empty."""

    secrets: tuple[str, ...] = ()

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._stored = {name: getattr(self.instance, name) for name in self.secrets}  # type: ignore[attr-defined]
        for name, stored in self._stored.items():
            field = self.fields.get(name)  # type: ignore[attr-defined]
            if field is None:
                continue
            field.widget.attrs["placeholder"] = f"{last_four(stored)} · leave empty to keep it" if stored else ""
            if stored:
                field.required = False
            self.initial.pop(name, None)  # type: ignore[attr-defined]

    def clean(self) -> dict[str, Any]:
        """Put the stored secret back where nothing was typed."""
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data  # type: ignore[misc, attr-defined]
        for name, stored in self._stored.items():
            if name in cleaned:
                cleaned[name] = (cleaned[name] or "").strip() or stored
        return cleaned

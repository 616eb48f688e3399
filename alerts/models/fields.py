"""A duration that people read and write as Prometheus does (`5m`, `1h30m`), stored as seconds."""

from __future__ import annotations

from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.db import models

from alerts.engine.durations import format_duration, parse_duration


def to_seconds(value: Any) -> float | None:
    """Seconds of a number or a text such as `5m`; raises ValidationError saying how to write it."""
    if value in (None, ""):
        return None
    if isinstance(value, int | float):
        return float(value)
    try:
        return float(value)
    except ValueError:
        pass
    try:
        return parse_duration(str(value))
    except ValueError as error:
        raise ValidationError(
            f"{value!r} is not a duration: {error}. Write 30s, 5m or 1h30m.", code="duration"
        ) from error


class DurationFormField(forms.CharField):
    """A text box for `5m`; a plain number is seconds."""

    def prepare_value(self, value: Any) -> Any:
        """Show seconds in Prometheus' notation; leave what was typed alone."""
        return format_duration(value) if isinstance(value, int | float) else value

    def to_python(self, value: Any) -> float | None:  # type: ignore[override]
        """Seconds; raises ValidationError."""
        return to_seconds(value)

    def has_changed(self, initial: Any, data: Any) -> bool:
        """Compare as seconds, so that `60s` and `1m` are the same."""
        try:
            return to_seconds(initial) != to_seconds(data)
        except ValidationError:
            return True


class DurationField(models.FloatField):
    """Seconds in the database, `5m` in forms."""

    def to_python(self, value: Any) -> float | None:
        """Seconds; raises ValidationError."""
        return to_seconds(value)

    def clean(self, value: Any, model_instance: models.Model | None) -> float | None:
        """Seconds, not negative; raises ValidationError."""
        seconds: float | None = super().clean(value, model_instance)
        if seconds is not None and not 0 <= seconds < 100 * 365 * 86400:
            raise ValidationError("Give a duration of 0 or more.", code="duration")
        return seconds

    def formfield(self, **kwargs: Any) -> forms.Field | None:  # type: ignore[override]
        """A text box that takes durations."""
        kwargs.pop("choices_form_class", None)
        kwargs.pop("form_class", None)
        return models.Field.formfield(self, form_class=DurationFormField, **kwargs)

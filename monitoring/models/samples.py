"""The tables of the sample store as models: for pages, the admin and tests. Only monitoring.store writes them.

Tables are made by SQL (migration 0001_store): partitions and storage settings are not Django's. Samples themselves
are bytes; nobody reads them through the ORM.
"""

from __future__ import annotations

from django.core.exceptions import ValidationError
from django.core.validators import MinValueValidator
from django.db import models

from ..promql import QueryError, parse_matchers


class Source(models.Model):
    """Who measured, with the labels it gives to all its samples; the same name with other labels is another row.

    A partial source says nothing of the series that it leaves out (backfill).
    """

    id = models.AutoField(primary_key=True)
    hash = models.BinaryField(unique=True)
    name = models.TextField(db_index=True)
    labels = models.JSONField(default=dict)
    is_partial = models.BooleanField(default=False)

    class Meta:
        db_table = "store_source"

    def __str__(self) -> str:
        return self.name


class SeriesKey(models.Model):
    """A metric name and labels as a source sends them; a series is a source and a key."""

    id = models.AutoField(primary_key=True)
    hash = models.BinaryField(unique=True)
    name = models.TextField(db_index=True)
    labels = models.JSONField(default=dict)

    class Meta:
        db_table = "store_key"

    def __str__(self) -> str:
        return self.name


class Layout(models.Model):
    """Which key stands at which place of a row: int32 little-endian key ids."""

    id = models.AutoField(primary_key=True)
    hash = models.BinaryField(unique=True)
    keys = models.BinaryField()

    class Meta:
        db_table = "store_layout"

    def __str__(self) -> str:
        return f"layout {self.pk}"


class SourceLayout(models.Model):
    """A layout that a source has used, and when (milliseconds; the end is brought up to date by the pivot)."""

    pk = models.CompositePrimaryKey("source_id", "layout_id")
    source_id = models.IntegerField()
    layout_id = models.IntegerField()
    first_ms = models.BigIntegerField()
    last_ms = models.BigIntegerField()

    class Meta:
        db_table = "store_source_layout"

    def __str__(self) -> str:
        return f"source {self.source_id} layout {self.layout_id}"


class StoreState(models.Model):
    """The one row that says from when on samples may be appended (`floor_ms`), which windows are merged into days
    (below `day_to`) and when caches are void (`generation`)."""

    id = models.SmallIntegerField(primary_key=True)
    floor_ms = models.BigIntegerField(default=0)
    day_to = models.IntegerField(default=0)
    generation = models.BigIntegerField()

    class Meta:
        db_table = "store_state"

    def __str__(self) -> str:
        return f"floor {self.floor_ms}"


class Mark(models.Model):
    """How far a source has been compacted: its windows below `chunk_to` are chunks."""

    source_id = models.IntegerField(primary_key=True)
    chunk_to = models.IntegerField(default=0)

    class Meta:
        db_table = "store_mark"

    def __str__(self) -> str:
        return f"source {self.source_id}"


class PlannedDrop(models.Model):
    """A partition whose samples have moved on; it is dropped when no reader can still be at it."""

    name = models.TextField(primary_key=True)
    after_ms = models.BigIntegerField()

    class Meta:
        db_table = "store_drop"

    def __str__(self) -> str:
        return self.name


class TrimmedDay(models.Model):
    """A merged day from which series kept for at most `days` have been taken out."""

    name = models.TextField(primary_key=True)
    days = models.IntegerField()

    class Meta:
        db_table = "store_trim"

    def __str__(self) -> str:
        return self.name


class Retention(models.Model):
    """How long the series of a selector are kept; all others are kept for ALPHAQ_RETENTION_DAYS."""

    id = models.BigAutoField(primary_key=True)
    selector = models.TextField(unique=True, help_text='PromQL matchers, for example {__name__=~"model_.*"}.')
    days = models.PositiveIntegerField(
        validators=[MinValueValidator(1)], help_text="Of several rules that fit a series the longest counts."
    )
    reason = models.TextField(blank=True, default="")

    class Meta:
        db_table = "store_retention"

    def __str__(self) -> str:
        return f"{self.selector} for {self.days} days"

    def clean(self) -> None:
        """Refuse a selector that is none."""
        try:
            parse_matchers(self.selector)
        except QueryError as error:
            raise ValidationError({"selector": str(error)}) from error


class Refusal(models.Model):
    """Samples of a source that the store would not take, for one reason, since somebody last looked away for a week."""

    pk = models.CompositePrimaryKey("source", "reason")
    source = models.TextField()
    reason = models.TextField()
    samples = models.BigIntegerField()
    first_ms = models.BigIntegerField()
    last_ms = models.BigIntegerField()
    text = models.TextField(help_text="What was wrong with the newest of them.")

    class Meta:
        db_table = "store_refusal"

    def __str__(self) -> str:
        return f"{self.source}: {self.reason}"


class Row(models.Model):
    """One scrape: float64 a slot of its layout; no bytes stand for a row without any value."""

    pk = models.CompositePrimaryKey("source_id", "at_ms")
    source_id = models.IntegerField()
    at_ms = models.BigIntegerField()
    layout_id = models.IntegerField()
    v = models.BinaryField()

    class Meta:
        db_table = "store_row"

    def __str__(self) -> str:
        return f"source {self.source_id} at {self.at_ms}"


class Block(models.Model):
    """Some minutes of rows of one source, turned: float64[slot][n]."""

    pk = models.CompositePrimaryKey("source_id", "layout_id", "first_ms")
    source_id = models.IntegerField()
    win = models.IntegerField()
    layout_id = models.IntegerField()
    first_ms = models.BigIntegerField()
    n = models.IntegerField()
    ts = models.BinaryField()
    v = models.BinaryField()

    class Meta:
        db_table = "store_block"

    def __str__(self) -> str:
        return f"source {self.source_id} from {self.first_ms}"


class Chunk(models.Model):
    """Two hours of one series, compressed; key 0 holds the times."""

    pk = models.CompositePrimaryKey("source_id", "key_id", "win")
    source_id = models.IntegerField()
    key_id = models.IntegerField()
    win = models.IntegerField()
    d = models.BinaryField()

    class Meta:
        db_table = "store_chunk"

    def __str__(self) -> str:
        return f"source {self.source_id} key {self.key_id} window {self.win}"


class Day(models.Model):
    """One day of one series, compressed; key 0 holds the times."""

    pk = models.CompositePrimaryKey("source_id", "key_id", "win")
    source_id = models.IntegerField()
    key_id = models.IntegerField()
    win = models.IntegerField()
    d = models.BinaryField()

    class Meta:
        db_table = "store_day"

    def __str__(self) -> str:
        return f"source {self.source_id} key {self.key_id} window {self.win}"

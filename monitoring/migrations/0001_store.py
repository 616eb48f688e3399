"""The tables of the sample store, by SQL because Django has no partitions and no storage settings.

`store_row` is small and hot: vacuum follows the pivot, not a share of the table. `external` storage keeps values
uncompressed, so that a slice of a row is read without the rest of it. `created` holds the transaction that wrote a
row: readers ask for what is newer than their last snapshot and miss nothing that was committed late.
"""

from django.core.validators import MinValueValidator
from django.db import migrations, models

SELECTOR_HELP = 'PromQL matchers, for example {__name__=~"model_.*"}.'
DAYS_HELP = "Of several rules that fit a series the longest counts."

TABLES = """
create table store_source (
    id serial primary key, hash bytea not null unique, name text not null, labels jsonb not null,
    is_partial boolean not null default false,
    created xid8 not null default pg_current_xact_id());
create index store_source_created on store_source (created);
create index store_source_name on store_source (name);
create table store_key (
    id serial primary key, hash bytea not null unique, name text not null, labels jsonb not null,
    created xid8 not null default pg_current_xact_id());
create index store_key_created on store_key (created);
create index store_key_name on store_key (name);
create table store_layout (
    id serial primary key, hash bytea not null unique, keys bytea not null,
    created xid8 not null default pg_current_xact_id());
create table store_source_layout (
    source_id int not null, layout_id int not null, first_ms bigint not null, last_ms bigint not null,
    created xid8 not null default pg_current_xact_id(), primary key (source_id, layout_id));
create index store_source_layout_created on store_source_layout (created);
create table store_state (
    id smallint primary key check (id = 1), floor_ms bigint not null default 0, day_to int not null default 0,
    generation bigint not null);
create table store_mark (
    source_id int primary key, chunk_to int not null default 0);
create table store_drop (name text primary key, after_ms bigint not null);
create table store_trim (name text primary key, days int not null);
create table store_retention (
    id bigserial primary key, selector text not null unique, days int not null check (days >= 1),
    reason text not null default '');
create table store_row (
    source_id int not null, at_ms bigint not null, layout_id int not null, v bytea not null,
    created xid8 not null default pg_current_xact_id(), primary key (source_id, at_ms));
create index store_row_created on store_row (created);
create table store_block (
    source_id int not null, win int not null, layout_id int not null, first_ms bigint not null, n int not null,
    ts bytea not null, v bytea not null,
    created xid8 not null default pg_current_xact_id()) partition by range (win);
create table store_chunk (
    source_id int not null, key_id int not null, win int not null, d bytea not null) partition by range (win);
create table store_day (
    source_id int not null, key_id int not null, win int not null, d bytea not null) partition by range (win);
"""

STORAGE = """
alter table store_row alter v set storage external;
alter table store_block alter v set storage external;
alter table store_chunk alter d set storage external;
alter table store_day alter d set storage external;
alter table store_row set (
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000,
    autovacuum_vacuum_insert_threshold = -1,
    toast.autovacuum_vacuum_scale_factor = 0, toast.autovacuum_vacuum_threshold = 6000);
"""

DROP = """
drop table store_row, store_block, store_chunk, store_day, store_mark, store_drop, store_trim, store_retention, store_state, store_source_layout,
    store_layout, store_key, store_source;
"""


def _model(name, table, *fields):
    return migrations.CreateModel(name=name, fields=list(fields), options={"db_table": table})


def _pair(*names):
    return ("pk", models.CompositePrimaryKey(*names, blank=True, editable=False, primary_key=True, serialize=False))


STATE = [
    _model(
        "Source",
        "store_source",
        ("id", models.AutoField(primary_key=True, serialize=False)),
        ("hash", models.BinaryField(unique=True)),
        ("name", models.TextField(db_index=True)),
        ("labels", models.JSONField(default=dict)),
        ("is_partial", models.BooleanField(default=False)),
    ),
    _model(
        "SeriesKey",
        "store_key",
        ("id", models.AutoField(primary_key=True, serialize=False)),
        ("hash", models.BinaryField(unique=True)),
        ("name", models.TextField(db_index=True)),
        ("labels", models.JSONField(default=dict)),
    ),
    _model(
        "Layout",
        "store_layout",
        ("id", models.AutoField(primary_key=True, serialize=False)),
        ("hash", models.BinaryField(unique=True)),
        ("keys", models.BinaryField()),
    ),
    _model(
        "SourceLayout",
        "store_source_layout",
        _pair("source_id", "layout_id"),
        ("source_id", models.IntegerField()),
        ("layout_id", models.IntegerField()),
        ("first_ms", models.BigIntegerField()),
        ("last_ms", models.BigIntegerField()),
    ),
    _model(
        "StoreState",
        "store_state",
        ("id", models.SmallIntegerField(primary_key=True, serialize=False)),
        ("floor_ms", models.BigIntegerField(default=0)),
        ("day_to", models.IntegerField(default=0)),
        ("generation", models.BigIntegerField()),
    ),
    _model(
        "Mark",
        "store_mark",
        ("source_id", models.IntegerField(primary_key=True, serialize=False)),
        ("chunk_to", models.IntegerField(default=0)),
    ),
    _model(
        "PlannedDrop",
        "store_drop",
        ("name", models.TextField(primary_key=True, serialize=False)),
        ("after_ms", models.BigIntegerField()),
    ),
    _model(
        "TrimmedDay",
        "store_trim",
        ("name", models.TextField(primary_key=True, serialize=False)),
        ("days", models.IntegerField()),
    ),
    _model(
        "Retention",
        "store_retention",
        ("id", models.BigAutoField(primary_key=True, serialize=False)),
        ("selector", models.TextField(help_text=SELECTOR_HELP, unique=True)),
        ("days", models.PositiveIntegerField(help_text=DAYS_HELP, validators=[MinValueValidator(1)])),
        ("reason", models.TextField(blank=True, default="")),
    ),
    _model(
        "Row",
        "store_row",
        _pair("source_id", "at_ms"),
        ("source_id", models.IntegerField()),
        ("at_ms", models.BigIntegerField()),
        ("layout_id", models.IntegerField()),
        ("v", models.BinaryField()),
    ),
    _model(
        "Block",
        "store_block",
        _pair("source_id", "layout_id", "first_ms"),
        ("source_id", models.IntegerField()),
        ("win", models.IntegerField()),
        ("layout_id", models.IntegerField()),
        ("first_ms", models.BigIntegerField()),
        ("n", models.IntegerField()),
        ("ts", models.BinaryField()),
        ("v", models.BinaryField()),
    ),
    _model(
        "Chunk",
        "store_chunk",
        _pair("source_id", "key_id", "win"),
        ("source_id", models.IntegerField()),
        ("key_id", models.IntegerField()),
        ("win", models.IntegerField()),
        ("d", models.BinaryField()),
    ),
    _model(
        "Day",
        "store_day",
        _pair("source_id", "key_id", "win"),
        ("source_id", models.IntegerField()),
        ("key_id", models.IntegerField()),
        ("win", models.IntegerField()),
        ("d", models.BinaryField()),
    ),
]


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [migrations.RunSQL(sql=TABLES + STORAGE, reverse_sql=DROP, state_operations=STATE)]

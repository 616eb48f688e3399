"""A function writes posted alerts that nobody knew, each with the first line of its history."""

from django.db import migrations

# All of an alert's row that a post can tell; the rest is what the models have as defaults. Planning the statement anew for
# each request took a third of its time.
BEGIN = """
CREATE FUNCTION alerts_begin(
    posted timestamptz, keys text[], names text[], severities text[], labels jsonb, annotations jsonb, urls text[],
    starts timestamptz[], ends timestamptz[], timeouts boolean[], contents bigint[]
) RETURNS bigint[] LANGUAGE plpgsql AS $$
DECLARE
    ids bigint[];
BEGIN
    WITH fresh AS (
        INSERT INTO alerts_alert (
            source, fingerprint, name, severity, labels, annotations, generator_url, active_since, fired_at, ends_at,
            is_timeout, content_key, state, resolved_at, resolve_reason, updated_at, hold_seconds, rule_revision, is_shadow
        )
        SELECT 'api', key, name, severity, label_set, notes, url, starts_at, starts_at, ends_at,
            is_timeout, content, CASE WHEN ends_at <= posted THEN 'resolved' ELSE 'firing' END,
            CASE WHEN ends_at <= posted THEN ends_at END, CASE WHEN ends_at <= posted THEN 'posted' ELSE '' END,
            posted, 0, 0, false
        FROM ROWS FROM (
            unnest(keys, names, severities, urls, starts, ends, timeouts, contents),
            jsonb_array_elements(labels), jsonb_array_elements(annotations)
        ) WITH ORDINALITY AS post (
            key, name, severity, url, starts_at, ends_at, is_timeout, content, label_set, notes, place
        )
        ORDER BY place
        RETURNING id, state
    ), told AS (
        INSERT INTO alerts_event (alert_id, at, kind, reason)
        SELECT id, posted, 'firing', 'Posted to the API.' FROM fresh WHERE state = 'firing' ORDER BY id
    )
    SELECT array_agg(id ORDER BY id) INTO ids FROM fresh;
    RETURN ids;
END $$
"""
DROP = (
    "DROP FUNCTION alerts_begin(timestamptz, text[], text[], text[], jsonb, jsonb, text[], timestamptz[], timestamptz[],"
    " boolean[], bigint[])"
)


class Migration(migrations.Migration):

    dependencies = [("alerts", "0020_content_key")]

    operations = [migrations.RunSQL(BEGIN, DROP)]

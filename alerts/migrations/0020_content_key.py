"""Posted alerts are known by a key of their content; a function renews those that are resent as they are."""

from django.db import migrations, models

# 0x616C7070 (1634496624) is amlease's lock. The commit need not reach the disk at once: what a crash of Postgres can lose
# is that an alert, which has not changed, ends a minute later, and its sender says so again. `starts` and `ends`
# have one element where all alerts have the same; an end that somebody named stays where the new one is earlier, a timeout is only a
# guess (AI-7). A connection keeps its plan, and statistics from before a storm say that nothing fires: so there is but
# one index that can be used. `state` is written in a way that fits no index, and no plan reads the whole table.
RENEW = """
CREATE FUNCTION alerts_renew(
    keys bigint[], starts timestamptz[], ends timestamptz[], posted timestamptz
) RETURNS bigint[] LANGUAGE plpgsql SET enable_seqscan = off AS $$
DECLARE
    alive record;
BEGIN
    PERFORM pg_advisory_xact_lock_shared(1634496624), set_config('synchronous_commit', 'off', true);
    SELECT array_agg(sent.key) AS keys, array_agg(alert.id) AS ids, array_agg(merged.ends_at) AS ends_at,
           min(merged.ends_at) AS earliest, array_agg(alert.id) FILTER (WHERE alert.ends_at IS NOT NULL) AS resent_first
    INTO alive
    FROM unnest(keys, starts, ends) AS sent (key, starts_at, ends_at), LATERAL (
        SELECT id, fired_at, ends_at, is_timeout FROM alerts_alert
        WHERE content_key = sent.key AND state || '' = 'firing' LIMIT 1
    ) AS alert, LATERAL (
        SELECT greatest(coalesce(sent.ends_at, ends[1]), CASE WHEN NOT alert.is_timeout THEN alert.ends_at END)
    ) AS merged (ends_at)
    WHERE alert.fired_at <= coalesce(sent.starts_at, starts[1]) AND (alert.ends_at IS NULL OR alert.ends_at > posted);
    IF alive.ids IS NULL THEN
        RETURN keys;
    END IF;
    INSERT INTO alerts_posting (posted_at, alert_ids, ends_at) VALUES (posted, alive.ids, alive.ends_at);
    IF alive.resent_first IS NOT NULL THEN
        UPDATE alerts_alert SET ends_at = NULL WHERE id = ANY(alive.resent_first) AND state = 'firing';
    END IF;
    UPDATE alerts_ingest SET next_check_at = alive.earliest WHERE next_check_at > alive.earliest;
    IF cardinality(alive.keys) = cardinality(keys) THEN
        RETURN '{}';
    END IF;
    RETURN ARRAY(SELECT unnest(keys) EXCEPT SELECT unnest(alive.keys));
END $$
"""
DROP = "DROP FUNCTION alerts_renew(bigint[], timestamptz[], timestamptz[], timestamptz)"


class Migration(migrations.Migration):

    dependencies = [("alerts", "0019_fewer_indexes")]

    operations = [
        migrations.AddField(
            model_name="alert",
            name="content_key",
            field=models.BigIntegerField(blank=True, editable=False, null=True),
        ),
        migrations.AddIndex(
            model_name="alert",
            index=models.Index(
                condition=models.Q(("content_key__isnull", False)),
                fields=["content_key"],
                name="alert_posted_content",
            ),
        ),
        migrations.RunSQL(RENEW, DROP),
    ]

"""Event bodies: every body of a webhook is written by PostgreSQL, its fields in one order.

Revision ID: 0008
Revises: 0007
"""

from collections.abc import Sequence

from alembic import op

revision: str = "0008"
down_revision: str | None = "0007"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    # The envelope: `Event` of core/domain/events.py.
    op.execute(
        """
        CREATE OR REPLACE FUNCTION inferd_event(event_id uuid, event_type text, data json)
        RETURNS bytea LANGUAGE sql STABLE PARALLEL SAFE AS $$
            SELECT convert_to(json_build_object(
                'id', 'evt_' || replace(event_id::text, '-', ''),
                'object', 'event',
                'type', event_type,
                'created_at', floor(extract(epoch FROM now()))::bigint,
                'timestamp', to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
                'data', data
            )::text, 'UTF8')
        $$
        """
    )
    # `JobEventData`: `more` has the fields that only some events have. The arguments are those of migration 0002, so
    # that the release before this one can go on calling it.
    op.execute(
        """
        CREATE OR REPLACE FUNCTION inferd_job_event(
            event_id uuid, event_type text, job_id uuid, status text, model text, sequence int, more jsonb
        ) RETURNS bytea LANGUAGE sql STABLE PARALLEL SAFE AS $$
            SELECT inferd_event(
                event_id,
                event_type,
                (rtrim(always::text, '}') || CASE
                    WHEN more = '{}' THEN '}' ELSE ', ' || substr(more::text, 2)
                END)::json
            )
            FROM json_build_object(
                'id', 'job_' || replace(job_id::text, '-', ''),
                'job_id', 'job_' || replace(job_id::text, '-', ''),
                'status', status,
                'model', model,
                'sequence', sequence,
                'result_url', '/v1/jobs/job_' || replace(job_id::text, '-', '')
            ) AS always
        $$
        """
    )


def downgrade() -> None:
    # As migration 0002 made it.
    op.execute(
        """
        CREATE OR REPLACE FUNCTION inferd_job_event(
            event_id uuid, event_type text, job_id uuid, status text, model text, sequence int, more jsonb
        ) RETURNS bytea LANGUAGE sql STABLE PARALLEL SAFE AS $$
            SELECT convert_to(jsonb_build_object(
                'id', 'evt_' || replace(event_id::text, '-', ''),
                'object', 'event',
                'type', event_type,
                'created_at', floor(extract(epoch FROM now()))::bigint,
                'timestamp', to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
                'data', jsonb_build_object(
                    'id', 'job_' || replace(job_id::text, '-', ''),
                    'job_id', 'job_' || replace(job_id::text, '-', ''),
                    'status', status,
                    'model', model,
                    'sequence', sequence,
                    'result_url', '/v1/jobs/job_' || replace(job_id::text, '-', '')
                ) || more
            )::text, 'UTF8')
        $$
        """
    )
    op.execute("DROP FUNCTION IF EXISTS inferd_event(uuid, text, json)")

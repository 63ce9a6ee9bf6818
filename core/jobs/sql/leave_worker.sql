-- A worker that has stopped: whatever still names it can be taken back at once, and nobody was lost with it.
UPDATE workers SET dead_at = now(), lost_alone = true WHERE id = $1 AND dead_at IS NULL

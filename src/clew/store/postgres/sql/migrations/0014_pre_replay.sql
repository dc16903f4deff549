-- What tells whether a store and a log belong together, and what became of the events before a cursor.

ALTER TABLE cursors ADD COLUMN quarantined bigint;
ALTER TABLE cursors ADD COLUMN missing bigint;
ALTER TABLE cursors ADD COLUMN gaps bigint;
ALTER TABLE cursors ADD COLUMN mark_position bigint;
ALTER TABLE cursors ADD COLUMN mark_crc bigint;
ALTER TABLE cursors ADD COLUMN begins bigint NOT NULL DEFAULT 0;
ALTER TABLE cursors ADD COLUMN forked_from uuid;

CREATE INDEX cursors_forked_idx ON cursors (forked_from) WHERE forked_from IS NOT NULL;

-- The events that hold an error, by time: they are few, and of any level.
CREATE INDEX events_fault_idx ON events ("timestamp") WHERE error IS NOT NULL;

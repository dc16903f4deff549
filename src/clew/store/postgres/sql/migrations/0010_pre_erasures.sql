-- What an erasure has to come back for: it may be killed, and events of its traces may come late. None of it names anybody.

-- Traces that were erased: what comes of them without a user is somebody's who is to be forgotten.
CREATE TABLE erased_traces (
    trace_id uuid PRIMARY KEY,
    erased_at timestamptz NOT NULL DEFAULT now()
);

-- Tables that erased rows may still be read from, in the bytes of their files, until they are rewritten.
CREATE TABLE erasure_rewrites (
    name text PRIMARY KEY
);

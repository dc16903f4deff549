-- Traces are judged by retention_judge; agents of before asked this one.
DROP FUNCTION IF EXISTS retention_reason(uuid, timestamptz, timestamptz, float8, float8);

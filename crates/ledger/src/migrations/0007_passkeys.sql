-- What operators approve with in a browser. The name is the id; all but how often it was used is vouched for.
CREATE TABLE passkeys (
  name TEXT PRIMARY KEY,
  operator TEXT NOT NULL,
  label TEXT NOT NULL,
  origin TEXT NOT NULL,
  credential TEXT NOT NULL,
  added_at BIGINT NOT NULL,
  removed_at BIGINT,
  mac BYTEA NOT NULL,
  counter BIGINT NOT NULL DEFAULT 0,
  used_at BIGINT
);
CREATE INDEX passkeys_by_operator ON passkeys (operator) WHERE removed_at IS NULL;

-- What was asked under a further idempotency key, in other words than the request that waited.
ALTER TABLE request_aliases ADD COLUMN ask_digest BYTEA;

-- What operators approved in advance. The name is the id; all but how often it was used is vouched for.
CREATE TABLE grants (
  name TEXT PRIMARY KEY,
  operator TEXT NOT NULL,
  agent TEXT NOT NULL,
  template TEXT NOT NULL,
  template_version BIGINT NOT NULL,
  project TEXT NOT NULL,
  environment TEXT NOT NULL,
  parameters TEXT NOT NULL,
  any_parameters BIGINT NOT NULL,
  destinations TEXT NOT NULL,
  directory TEXT,
  ttl_max BIGINT NOT NULL,
  uses BIGINT,
  until BIGINT NOT NULL,
  -- Ed25519, or a passkey's assertion.
  signature BYTEA NOT NULL,
  added_at BIGINT NOT NULL,
  removed_at BIGINT,
  mac BYTEA NOT NULL,
  used BIGINT NOT NULL DEFAULT 0,
  used_at BIGINT
);
CREATE INDEX grants_by_agent ON grants (agent, template) WHERE removed_at IS NULL;
-- The requests that one of them approved.
CREATE TABLE grant_uses (
  request TEXT PRIMARY KEY REFERENCES requests (id),
  grant_id TEXT NOT NULL REFERENCES grants (name),
  operator TEXT NOT NULL,
  digest TEXT NOT NULL,
  used_at BIGINT NOT NULL,
  mac BYTEA NOT NULL
);

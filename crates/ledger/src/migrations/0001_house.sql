-- Times are milliseconds since 1970 UTC. Documents (plans, templates, configurations) are JSON text.
-- Only columns that end in _sealed hold secrets, and only sealed ones. A row with a mac counts for nothing when its mac,
-- made with a key that comes from the master key, is not that of its columns: all of them where people and programs are
-- let in, and those that never change (not a state, a time of trying, a number of tries) of what the broker works on.

CREATE TABLE meta (name TEXT PRIMARY KEY, value BYTEA NOT NULL);

CREATE TABLE operators (
  name TEXT PRIMARY KEY,
  public_key BYTEA NOT NULL,
  signing_key_sealed BYTEA NOT NULL,
  slot_salt BYTEA NOT NULL,
  slot_memory_kib BIGINT NOT NULL,
  slot_passes BIGINT NOT NULL,
  slot_lanes BIGINT NOT NULL,
  master_key_sealed BYTEA NOT NULL,
  added_at BIGINT NOT NULL,
  removed_at BIGINT,
  mac BYTEA NOT NULL
);

CREATE TABLE agents (
  name TEXT PRIMARY KEY,
  token_hash BYTEA NOT NULL UNIQUE,
  added_by TEXT NOT NULL,
  added_at BIGINT NOT NULL,
  removed_at BIGINT,
  mac BYTEA NOT NULL
);

CREATE TABLE workloads (
  name TEXT PRIMARY KEY,
  token_hash BYTEA NOT NULL UNIQUE,
  project TEXT NOT NULL,
  environment TEXT,
  added_by TEXT NOT NULL,
  added_at BIGINT NOT NULL,
  removed_at BIGINT,
  mac BYTEA NOT NULL
);

-- Each value has its own data key, wrapped by the key-encryption key; both are bound to the owner.
CREATE TABLE sealed_values (
  id TEXT PRIMARY KEY,
  owner TEXT NOT NULL,
  data_key_sealed BYTEA NOT NULL,
  value_sealed BYTEA NOT NULL,
  created_at BIGINT NOT NULL
);
CREATE INDEX sealed_by_owner ON sealed_values (owner);

CREATE TABLE connections (
  name TEXT PRIMARY KEY,
  kind TEXT NOT NULL,
  base_url TEXT,
  account TEXT,
  extra TEXT NOT NULL,
  credential TEXT NOT NULL REFERENCES sealed_values (id),
  added_at BIGINT NOT NULL,
  mac BYTEA NOT NULL
);

CREATE TABLE stores (
  name TEXT PRIMARY KEY,
  kind TEXT NOT NULL,
  address TEXT,
  extra TEXT NOT NULL,
  credential TEXT REFERENCES sealed_values (id),
  added_at BIGINT NOT NULL,
  mac BYTEA NOT NULL
);

CREATE TABLE templates (
  id TEXT NOT NULL,
  version BIGINT NOT NULL,
  source TEXT NOT NULL,
  resolved TEXT NOT NULL,
  applied_by TEXT NOT NULL,
  signature BYTEA NOT NULL,
  applied_at BIGINT NOT NULL,
  retired_at BIGINT,
  PRIMARY KEY (id, version)
);

CREATE TABLE proposals (
  request TEXT PRIMARY KEY,
  agent TEXT NOT NULL,
  template TEXT NOT NULL,
  source TEXT NOT NULL,
  why TEXT NOT NULL,
  created_at BIGINT NOT NULL,
  state TEXT NOT NULL,
  mac BYTEA NOT NULL
);

CREATE TABLE policies (
  version BIGINT PRIMARY KEY,
  source TEXT NOT NULL,
  applied_by TEXT NOT NULL,
  signature BYTEA NOT NULL,
  applied_at BIGINT NOT NULL
);

CREATE TABLE requests (
  id TEXT PRIMARY KEY,
  principal_kind TEXT NOT NULL,
  principal_name TEXT NOT NULL,
  idempotency_key TEXT,
  ask_digest BYTEA NOT NULL,
  plan TEXT NOT NULL,
  digest TEXT NOT NULL,
  status TEXT NOT NULL,
  approvals_needed BIGINT NOT NULL,
  reasons TEXT NOT NULL,
  policies TEXT NOT NULL,
  prompt TEXT,
  claimed TEXT NOT NULL,
  key_id TEXT,
  entry BIGINT NOT NULL,
  created_at BIGINT NOT NULL,
  expires_at BIGINT NOT NULL,
  decided_at BIGINT,
  mac BYTEA NOT NULL
);
CREATE UNIQUE INDEX requests_idempotent ON requests (principal_kind, principal_name, idempotency_key)
  WHERE idempotency_key IS NOT NULL;
CREATE INDEX requests_by_status ON requests (status, created_at);
CREATE INDEX requests_by_key ON requests (key_id) WHERE key_id IS NOT NULL;
CREATE INDEX requests_by_principal ON requests (principal_kind, principal_name, created_at);

-- Further idempotency keys of a request: the same was asked again while it waited.
CREATE TABLE request_aliases (
  principal_kind TEXT NOT NULL,
  principal_name TEXT NOT NULL,
  idempotency_key TEXT NOT NULL,
  request TEXT NOT NULL REFERENCES requests (id),
  PRIMARY KEY (principal_kind, principal_name, idempotency_key)
);

CREATE TABLE approvals (
  id TEXT PRIMARY KEY,
  request TEXT NOT NULL REFERENCES requests (id),
  operator TEXT NOT NULL,
  digest TEXT NOT NULL,
  given_at BIGINT NOT NULL,
  expires_at BIGINT NOT NULL,
  signature BYTEA NOT NULL,
  used_at BIGINT,
  voided_at BIGINT
);
CREATE UNIQUE INDEX approvals_once ON approvals (request, operator, digest) WHERE voided_at IS NULL;

CREATE TABLE keys (
  id TEXT PRIMARY KEY,
  name TEXT NOT NULL,
  project TEXT NOT NULL,
  environment TEXT NOT NULL,
  provider TEXT NOT NULL,
  connection TEXT NOT NULL,
  template TEXT NOT NULL,
  request TEXT NOT NULL REFERENCES requests (id),
  agent TEXT,
  state TEXT NOT NULL,
  created_at BIGINT NOT NULL,
  rotate_at BIGINT,
  rotate_tries BIGINT NOT NULL DEFAULT 0,
  disabled_at BIGINT,
  mac BYTEA NOT NULL
);
CREATE INDEX keys_to_rotate ON keys (rotate_at) WHERE rotate_at IS NOT NULL;
-- A name means one thing: at most one key that lives or is being made under it.
CREATE UNIQUE INDEX keys_live_name ON keys (project, environment, name) WHERE state IN ('minting', 'active');
CREATE INDEX keys_by_agent ON keys (agent, state);

CREATE TABLE attempts (
  id TEXT PRIMARY KEY,
  key_id TEXT NOT NULL REFERENCES keys (id),
  saga TEXT NOT NULL,
  number BIGINT NOT NULL,
  marker TEXT NOT NULL UNIQUE,
  connection TEXT NOT NULL,
  sent_at BIGINT,
  outcome TEXT NOT NULL,
  provider_key_id TEXT,
  expires_at BIGINT,
  sweep_at BIGINT,
  absent_seen BIGINT NOT NULL DEFAULT 0,
  mac BYTEA NOT NULL,
  UNIQUE (saga, number)
);
CREATE INDEX attempts_to_sweep ON attempts (sweep_at) WHERE sweep_at IS NOT NULL;

CREATE TABLE versions (
  id TEXT PRIMARY KEY,
  key_id TEXT NOT NULL REFERENCES keys (id),
  attempt TEXT NOT NULL UNIQUE REFERENCES attempts (id),
  number BIGINT NOT NULL,
  provider_key_id TEXT NOT NULL,
  expires_at BIGINT,
  state TEXT NOT NULL,
  fingerprint TEXT,
  created_at BIGINT NOT NULL,
  mac BYTEA NOT NULL,
  UNIQUE (key_id, number)
);
CREATE INDEX versions_by_fingerprint ON versions (fingerprint);

CREATE TABLE placements (
  id TEXT PRIMARY KEY,
  version TEXT NOT NULL REFERENCES versions (id),
  key_id TEXT NOT NULL REFERENCES keys (id),
  store TEXT NOT NULL,
  place TEXT NOT NULL,
  base TEXT,
  store_version TEXT,
  verified TEXT,
  state TEXT NOT NULL,
  change TEXT,
  -- The last moment at which something may have been sent to the store that was never answered, and may land late.
  doubted_at BIGINT,
  updated_at BIGINT NOT NULL,
  mac BYTEA NOT NULL
);
CREATE INDEX placements_by_key ON placements (key_id);
CREATE INDEX placements_by_place ON placements (place, store);

-- The places of keys that live or are being made.
CREATE TABLE claims (
  store TEXT NOT NULL,
  place TEXT NOT NULL,
  base TEXT NOT NULL,
  key_id TEXT NOT NULL REFERENCES keys (id),
  PRIMARY KEY (store, place, base)
);
CREATE INDEX claims_by_key ON claims (key_id);

CREATE TABLE sagas (
  id TEXT PRIMARY KEY,
  kind TEXT NOT NULL,
  request TEXT NOT NULL,
  key_id TEXT NOT NULL REFERENCES keys (id),
  phase TEXT NOT NULL,
  attempt TEXT NOT NULL,
  digest TEXT NOT NULL,
  fence BIGINT NOT NULL,
  owner TEXT,
  lease_until BIGINT,
  due_at BIGINT,
  tries BIGINT NOT NULL,
  trouble TEXT,
  ends TEXT,
  created_at BIGINT NOT NULL,
  mac BYTEA NOT NULL
);
CREATE INDEX sagas_due ON sagas (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX sagas_by_key ON sagas (key_id);
-- A key has one rotation at a time.
CREATE UNIQUE INDEX sagas_one_rotation ON sagas (key_id) WHERE kind = 'rotate' AND due_at IS NOT NULL;

-- What is known about the use of a version that was replaced.
CREATE TABLE drains (
  version TEXT PRIMARY KEY REFERENCES versions (id),
  key_id TEXT NOT NULL REFERENCES keys (id),
  saga TEXT NOT NULL REFERENCES sagas (id),
  since BIGINT NOT NULL,
  looked_at BIGINT,
  last_used_at BIGINT,
  counted_since BIGINT,
  usage_tokens BIGINT,
  usage_microusd BIGINT,
  grew_at BIGINT,
  seen_by_us_at BIGINT,
  alerted_at BIGINT,
  disabled_at BIGINT,
  word TEXT,
  mac BYTEA NOT NULL
);
CREATE INDEX drains_by_key ON drains (key_id);

-- What providers counted of a version in all its life; a row where the count moved.
CREATE TABLE usage_counts (
  version TEXT NOT NULL REFERENCES versions (id),
  at BIGINT NOT NULL,
  tokens BIGINT,
  cost_microusd BIGINT,
  seen_until BIGINT NOT NULL,
  mac BYTEA NOT NULL,
  PRIMARY KEY (version, at)
);

-- A debt to a provider. It stays owed until the provider confirms; there is no number of tries that ends it.
CREATE TABLE revocations (
  id TEXT PRIMARY KEY,
  connection TEXT NOT NULL,
  provider_key_id TEXT NOT NULL,
  key_id TEXT,
  version TEXT,
  attempt TEXT,
  reason TEXT NOT NULL,
  owed_since BIGINT NOT NULL,
  due_at BIGINT,
  tries BIGINT NOT NULL,
  trouble TEXT,
  done_at BIGINT,
  entry BIGINT,
  mac BYTEA NOT NULL,
  UNIQUE (connection, provider_key_id)
);
CREATE INDEX revocations_due ON revocations (due_at) WHERE due_at IS NOT NULL;

-- What the embedded store holds. Older versions are kept until their version is revoked.
CREATE TABLE embedded_values (
  place TEXT NOT NULL,
  number BIGINT NOT NULL,
  placement TEXT NOT NULL UNIQUE,
  key_id TEXT NOT NULL,
  version TEXT NOT NULL,
  marker TEXT NOT NULL,
  sealed TEXT NOT NULL REFERENCES sealed_values (id),
  written_at BIGINT NOT NULL,
  mac BYTEA NOT NULL,
  PRIMARY KEY (place, number)
);

-- One log to a file, so the place alone is the key: SQLite then keeps the rows in that order, without an index.
CREATE TABLE audit_entries (
  log TEXT NOT NULL,
  number INTEGER PRIMARY KEY,
  leaf BYTEA NOT NULL,
  leaf_hash BYTEA NOT NULL,
  deed TEXT NOT NULL,
  stage TEXT NOT NULL,
  at BIGINT NOT NULL,
  request TEXT,
  key_id TEXT,
  mac BYTEA NOT NULL
);
CREATE INDEX audit_by_request ON audit_entries (request) WHERE request IS NOT NULL;
CREATE INDEX audit_by_key ON audit_entries (key_id) WHERE key_id IS NOT NULL;

CREATE TABLE checkpoints (
  log TEXT NOT NULL,
  size BIGINT NOT NULL,
  note TEXT NOT NULL,
  signed_at BIGINT NOT NULL,
  PRIMARY KEY (log, size)
);

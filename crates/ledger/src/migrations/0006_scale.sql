-- What is looked for each second, or for each deed, is found without looking at every key that there ever was.
DROP INDEX keys_to_rotate;
CREATE INDEX keys_to_rotate ON keys (rotate_at) WHERE state = 'active' AND disabled_at IS NULL;
CREATE INDEX versions_ahead ON versions (created_at) WHERE state = 'active';
CREATE INDEX keys_by_name ON keys (name, created_at);
CREATE INDEX versions_to_expire ON versions (expires_at) WHERE state <> 'revoked';
CREATE INDEX versions_by_credential ON versions (provider_key_id);
DROP INDEX requests_by_key;
CREATE INDEX requests_by_key ON requests (key_id, created_at, id) WHERE key_id IS NOT NULL;
CREATE INDEX sagas_by_request ON sagas (request);
CREATE INDEX revocations_by_key ON revocations (key_id);
CREATE INDEX revocations_owed ON revocations (owed_since) WHERE done_at IS NULL;
-- Nothing asks for it by this column, but each DELETE of a sealed value looks for who refers to it.
CREATE INDEX embedded_by_sealed ON embedded_values (sealed);
CREATE INDEX drains_late ON drains (alerted_at) WHERE alerted_at IS NOT NULL;

-- Since when the version of a copy ends, or is over.
ALTER TABLE placements ADD COLUMN ends_at BIGINT;
UPDATE placements SET ends_at = updated_at WHERE version IN (SELECT id FROM versions WHERE state IN ('revoking', 'revoked'));
CREATE INDEX placements_ending ON placements (updated_at) WHERE ends_at IS NOT NULL
  AND state NOT IN ('planned', 'rejected', 'replaced', 'removed', 'left', 'kept');
-- Those among which a start looks for copies that nobody knew to end.
CREATE INDEX placements_in_force ON placements (version) WHERE ends_at IS NULL
  AND state NOT IN ('planned', 'rejected', 'replaced', 'removed', 'left', 'kept');
CREATE INDEX placements_of_people ON placements (updated_at) WHERE state IN ('leaving', 'unwanted');

-- By which broker a program was heard of last, and for how long each was there to hear of any.
ALTER TABLE holds ADD COLUMN seen_by TEXT;
CREATE TABLE listeners (
  name TEXT PRIMARY KEY,
  since BIGINT NOT NULL,
  until BIGINT NOT NULL
);
-- Who works on a parent's successor, until when, and the how manyth that is; and since when the successor is in force.
ALTER TABLE parents ADD COLUMN owner TEXT;
ALTER TABLE parents ADD COLUMN fence BIGINT NOT NULL DEFAULT 0;
ALTER TABLE parents ADD COLUMN lease_until BIGINT;
ALTER TABLE parents ADD COLUMN switched_at BIGINT;

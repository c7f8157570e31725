-- Programs that run, and the versions whose values they were given. The id is a hash of the word by which a program speaks.
CREATE TABLE holds (
  id TEXT NOT NULL,
  version TEXT NOT NULL REFERENCES versions (id),
  key_id TEXT NOT NULL REFERENCES keys (id),
  process BIGINT,
  process_began BIGINT,
  began_at BIGINT NOT NULL,
  seen_at BIGINT NOT NULL,
  mac BYTEA NOT NULL,
  PRIMARY KEY (id, version)
);
CREATE INDEX holds_by_version ON holds (version);

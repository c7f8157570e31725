-- Who is told when a key has a successor. What is run, or where the message goes, is a document in target.
CREATE TABLE consumers (
  name TEXT PRIMARY KEY,
  kind TEXT NOT NULL,
  project TEXT NOT NULL,
  environment TEXT,
  names TEXT NOT NULL,
  target TEXT NOT NULL,
  patience BIGINT NOT NULL,
  credential TEXT REFERENCES sealed_values (id),
  added_at BIGINT NOT NULL,
  mac BYTEA NOT NULL
);

-- One piece of news for one consumer: of each rotation, whoever had to be told when it switched.
CREATE TABLE tellings (
  id TEXT PRIMARY KEY,
  saga TEXT NOT NULL REFERENCES sagas (id),
  key_id TEXT NOT NULL REFERENCES keys (id),
  consumer TEXT NOT NULL,
  at BIGINT NOT NULL,
  state TEXT NOT NULL,
  tries BIGINT NOT NULL,
  due_at BIGINT NOT NULL,
  told_at BIGINT,
  trouble TEXT,
  mac BYTEA NOT NULL,
  UNIQUE (saga, consumer)
);
CREATE INDEX tellings_by_key ON tellings (key_id);

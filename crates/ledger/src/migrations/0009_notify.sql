-- How people hear that something waits for them. Where it goes is a document in settings, when and how much one in rules; the
-- last columns say how it went, and are vouched for by nobody.
CREATE TABLE channels (
  name TEXT PRIMARY KEY,
  kind TEXT NOT NULL,
  settings TEXT NOT NULL,
  rules TEXT NOT NULL,
  credential TEXT REFERENCES sealed_values (id),
  added_at BIGINT NOT NULL,
  told_at BIGINT,
  failed_at BIGINT,
  failures BIGINT NOT NULL DEFAULT 0,
  trouble TEXT,
  mac BYTEA NOT NULL
);

-- What each channel has to tell, and how that stands. It is written with what it is about.
CREATE TABLE notices (
  id TEXT PRIMARY KEY,
  channel TEXT NOT NULL,
  matter TEXT NOT NULL,
  about TEXT NOT NULL,
  at BIGINT NOT NULL,
  state TEXT NOT NULL,
  turn BIGINT NOT NULL DEFAULT 0,
  tries BIGINT NOT NULL DEFAULT 0,
  due_at BIGINT NOT NULL,
  failing_since BIGINT,
  told_at BIGINT,
  trouble TEXT,
  mac BYTEA NOT NULL,
  UNIQUE (about, matter, channel)
);
CREATE INDEX notices_due ON notices (due_at) WHERE state = 'owed';

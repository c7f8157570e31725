-- Those that write to the database, where that is on a server: each process's fence, and when it last wrote.
CREATE TABLE brokers (
  name TEXT PRIMARY KEY,
  fence BIGINT NOT NULL,
  seen_at BIGINT NOT NULL
);
-- Who does what is to be done by one of them alone, and until when.
CREATE TABLE leads (
  work TEXT PRIMARY KEY,
  owner TEXT NOT NULL,
  fence BIGINT NOT NULL,
  expires_at BIGINT NOT NULL
);
-- One fence for whoever held the database alone.
DELETE FROM meta WHERE name = 'writer';

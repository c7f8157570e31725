-- Successors of connections' parent credentials: one under way for each connection at most.
CREATE TABLE parents (
  id TEXT PRIMARY KEY,
  connection TEXT NOT NULL,
  marker TEXT NOT NULL,
  parent TEXT NOT NULL,
  beside TEXT NOT NULL,
  sent_at BIGINT NOT NULL,
  phase TEXT NOT NULL,
  due_at BIGINT,
  tries BIGINT NOT NULL DEFAULT 0,
  trouble TEXT,
  ended_at BIGINT,
  mac BYTEA NOT NULL
);
CREATE UNIQUE INDEX parents_under_way ON parents (connection) WHERE ended_at IS NULL;

-- Since when a provider does not find a version that should live, and when it is looked for again. One answer is not believed.
ALTER TABLE versions ADD COLUMN missing_since BIGINT;
ALTER TABLE versions ADD COLUMN missing_look_at BIGINT;
-- When one that was gone, and that nobody here ended, was seen again.
ALTER TABLE versions ADD COLUMN back_at BIGINT;
CREATE INDEX versions_missing ON versions (missing_look_at) WHERE missing_look_at IS NOT NULL;
CREATE INDEX versions_back ON versions (back_at) WHERE back_at IS NOT NULL;

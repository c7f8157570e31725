-- When the provider was told to end it, where that may have been done although no answer came.
ALTER TABLE revocations ADD COLUMN sent_at BIGINT;
-- Since when the provider, which was to end it, knows no such credential. One answer is not believed.
ALTER TABLE revocations ADD COLUMN missing_since BIGINT;

-- How much there is to lose with what a request asks for: 0, 1 or 2. By it the inbox is sorted, and nothing is decided; the verdict
-- itself is worked out anew for whoever reads it.
ALTER TABLE requests ADD COLUMN risk BIGINT NOT NULL DEFAULT 1;
CREATE INDEX requests_inbox ON requests (status, risk DESC, created_at, id);
-- Why the last rotation of a key could not begin, or was taken back.
ALTER TABLE keys ADD COLUMN rotate_trouble TEXT;
CREATE INDEX keys_failing ON keys (rotate_tries) WHERE rotate_tries > 0 AND state = 'active';

-- What was asked under a further idempotency key, in other words than the request that waited.
ALTER TABLE request_aliases ADD COLUMN ask_digest BYTEA;

-- What was asked for before an operator approved less: JSON, told to whoever asked.
ALTER TABLE requests ADD COLUMN narrowed TEXT;
-- Who decided about a proposal, and why it was turned down; told to the agent.
ALTER TABLE proposals ADD COLUMN decided_by TEXT;
ALTER TABLE proposals ADD COLUMN reason TEXT;

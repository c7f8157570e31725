//! The audit log as files (under construction).

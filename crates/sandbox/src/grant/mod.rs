//! What a token may do: permission groups, resources, policies, and the address condition.

pub(crate) mod cidr;
pub(crate) mod group;
pub(crate) mod policy;
pub(crate) mod resource;
pub(crate) mod rights;

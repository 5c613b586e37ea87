//! Weighted rendezvous hash of a field's value.

pub mod rendezvous;

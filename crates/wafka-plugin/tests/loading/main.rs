//! Libraries of every kind are loaded, or refused with the reason.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failure here is a failed test")]

mod abort;
mod c;
mod rust;
mod support;

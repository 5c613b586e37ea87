//! The differential test: the same random commands against real Redis servers and against Wafka, every reply compared.
//!
//! [`generate`] makes scripts, [`player`] plays one on a server, [`mask`] and [`rules`] take out what may differ,
//! [`compare`] finds the first difference that is left, [`shrink`] finds the shortest script that shows it, and [`campaign`]
//! does all of that for many scripts.

pub mod campaign;
pub mod compare;
pub mod generate;
pub mod mask;
pub mod player;
pub mod reference;
pub mod rules;
pub mod script;
pub mod servers;
pub mod shrink;
pub mod value;
pub mod wire;

//! The commands, one file per command or family.

pub(crate) mod arguments;
pub(crate) mod broker;
pub(crate) mod describe;
pub(crate) mod entry_reply;
pub(crate) mod help;
pub(crate) mod keys;
pub(crate) mod object;
pub(crate) mod scan;
pub(crate) mod target;
pub(crate) mod topic;
pub(crate) mod topic_spec;
pub(crate) mod trim_args;
pub(crate) mod xadd;
pub(crate) mod xdel;
pub(crate) mod xinfo;
pub(crate) mod xlen;
pub(crate) mod xrange;
pub(crate) mod xread;
pub(crate) mod xread_wait;
pub(crate) mod xsetid;
pub(crate) mod xtrim;

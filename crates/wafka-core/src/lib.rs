//! Values, traits and errors every part of Wafka shares; no I/O.

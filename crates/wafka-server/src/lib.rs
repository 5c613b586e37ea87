//! The Wafka server: configuration, connections, the command table.

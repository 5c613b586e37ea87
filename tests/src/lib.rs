//! What the end-to-end tests share: a running server and a plain RESP client.

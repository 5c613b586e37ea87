//! Runs a document's code blocks the way a reader would.

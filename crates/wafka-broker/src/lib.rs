//! Topics, routing, broker threads, group commit, watermark and reads.

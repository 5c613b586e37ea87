//! Sans-IO RESP2/RESP3: a resumable request scanner and a reply writer.

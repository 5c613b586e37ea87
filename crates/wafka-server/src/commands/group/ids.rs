//! The list of ids that `XDELEX`, `XACKDEL` and `XNACK` share, and what becomes of references to deleted events:
//!
//! ```text
//! IDS numids id [id …]
//! KEEPREF | DELREF | ACKED
//! ```

use wafka_broker::RefPolicy;
use wafka_core::EventId;
use wafka_protocol::error_text::stream as text;
use wafka_protocol::parse::parse_i64;

use crate::command::CommandError;
use crate::commands::arguments::{event_id, is_word};

/// The reference policy called `word`, in any case.
pub(crate) fn ref_policy(word: &[u8]) -> Option<RefPolicy> {
    let policies = [("KEEPREF", RefPolicy::Keep), ("DELREF", RefPolicy::Delete), ("ACKED", RefPolicy::Acked)];
    policies.into_iter().find(|(name, _)| is_word(word, name)).map(|(_, policy)| policy)
}

/// Which events, and what becomes of references to them.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct IdsRequest<'a> {
    pub(crate) policy: RefPolicy,
    /// As they came: Redis looks at them only where there is something to do.
    ids: &'a [&'a [u8]],
}

impl<'a> IdsRequest<'a> {
    /// Reads the options `args`, in any order; of several lists the last counts.
    pub(crate) fn parse(args: &'a [&'a [u8]]) -> Result<Self, CommandError> {
        let (mut policy, mut ids) = (None, None);
        let mut at = 0;
        while let Some(option) = args.get(at) {
            if let Some(found) = ref_policy(option).filter(|_| policy.is_none()) {
                policy = Some(found);
                at += 1;
            } else {
                let (found, next) = take_ids(args, at)?;
                (ids, at) = (Some(found), next);
            }
        }
        let ids = ids.ok_or_else(CommandError::syntax)?;
        Ok(IdsRequest { policy: policy.unwrap_or(RefPolicy::Keep), ids })
    }

    /// How many ids there are.
    pub(crate) fn len(&self) -> usize {
        self.ids.len()
    }

    /// The ids.
    ///
    /// # Errors
    /// When one is none.
    pub(crate) fn ids(&self) -> Result<Vec<EventId>, CommandError> {
        self.ids.iter().map(|id| event_id(id)).collect()
    }
}

/// The list of ids that begins at `args[at]`, and the index behind it; a syntax error when none begins there.
pub(crate) fn take_ids<'a>(args: &'a [&'a [u8]], at: usize) -> Result<(&'a [&'a [u8]], usize), CommandError> {
    let count = match args[at..] {
        [word, count, ..] if is_word(word, "IDS") => count,
        _ => return Err(CommandError::syntax()),
    };
    let count = parse_i64(count).and_then(|count| usize::try_from(count).ok()).filter(|count| *count > 0);
    let count = count.ok_or(text::NUMIDS_NOT_POSITIVE)?;
    let ids = args[at + 2..].get(..count).ok_or(text::NUMIDS_MISMATCH)?;
    Ok((ids, at + 2 + count))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<(RefPolicy, Vec<String>), String> {
        let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        let request = IdsRequest::parse(&args).map_err(|error| error.to_string())?;
        assert_eq!(request.len(), request.ids.len());
        let ids = request.ids().map_err(|error| error.to_string())?;
        Ok((request.policy, ids.iter().map(ToString::to_string).collect()))
    }

    #[test]
    fn ids_and_policy_in_any_order() {
        let one = |policy| Ok((policy, vec!["1-1".to_owned()]));
        assert_eq!(parsed("IDS 1 1-1"), one(RefPolicy::Keep));
        assert_eq!(parsed("KEEPREF IDS 1 1-1"), one(RefPolicy::Keep));
        assert_eq!(parsed("ids 1 1-1 delref"), one(RefPolicy::Delete));
        assert_eq!(parsed("IDS 1 1-1 ACKED"), one(RefPolicy::Acked));
        assert_eq!(parsed("IDS 2 2-1 3 IDS 1 1-1"), one(RefPolicy::Keep));
        assert_eq!(parsed("IDS 2 2-1 3"), Ok((RefPolicy::Keep, vec!["2-1".to_owned(), "3-0".to_owned()])));
    }

    #[test]
    fn errors() {
        for (line, expected) in [
            ("IDS 2 1-1", text::NUMIDS_MISMATCH),
            ("IDS 1 1-1 IDS 1", text::NUMIDS_MISMATCH),
            ("IDS 1 1-1 2-1", "ERR syntax error"),
            ("IDS 1 1-1 IDS", "ERR syntax error"),
            ("IDS x 1-1", text::NUMIDS_NOT_POSITIVE),
            ("IDS 0 1-1", text::NUMIDS_NOT_POSITIVE),
            ("IDS -1 1-1", text::NUMIDS_NOT_POSITIVE),
            ("IDS 1 x", "ERR Invalid stream ID specified as stream command argument"),
            ("NOPE IDS 1 1-1", "ERR syntax error"),
            ("KEEPREF DELREF IDS 1 1-1", "ERR syntax error"),
            ("KEEPREF KEEPREF IDS 1 1-1", "ERR syntax error"),
            ("KEEPREF", "ERR syntax error"),
        ] {
            assert_eq!(parsed(line), Err(expected.to_owned()), "{line}");
        }
    }
}

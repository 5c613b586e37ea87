//! The trimming options that `XADD` and `XTRIM` share:
//!
//! ```text
//! <MAXLEN | MINID> [= | ~] threshold [LIMIT count]
//! KEEPREF | DELREF | ACKED
//! ```

use wafka_broker::{RefPolicy, Trim, TrimStrategy};
use wafka_protocol::error_text::stream as text;

use super::arguments::{event_id, integer, is_word};
use crate::command::CommandError;

/// Trimming options, as far as they were read.
#[derive(Default, Debug)]
pub(crate) struct TrimArgs {
    strategy: Option<TrimStrategy>,
    approximate: bool,
    limit: Option<u64>,
    /// `KEEPREF`, `DELREF` or `ACKED`: what becomes of the groups' references to the events that go.
    refs: Option<RefPolicy>,
}

impl TrimArgs {
    /// Reads the option at `args[at]`; the index behind it and its values, `None` when it is no trimming option.
    pub(crate) fn take(&mut self, args: &[&[u8]], at: usize) -> Result<Option<usize>, CommandError> {
        let (option, values) = (args[at], &args[at + 1..]);
        if is_word(option, "MAXLEN") && !values.is_empty() {
            let (value, used) = self.threshold(values)?;
            let max = integer(value)?;
            let max = u64::try_from(max).map_err(|_| CommandError::from(text::MAXLEN_NEGATIVE))?;
            self.strategy = Some(TrimStrategy::MaxLen(max));
            return Ok(Some(at + 1 + used));
        }
        if is_word(option, "MINID") && !values.is_empty() {
            let (value, used) = self.threshold(values)?;
            self.strategy = Some(TrimStrategy::MinId(event_id(value)?));
            return Ok(Some(at + 1 + used));
        }
        if is_word(option, "LIMIT") && !values.is_empty() {
            let limit = integer(values[0])?;
            let limit = u64::try_from(limit).map_err(|_| CommandError::from(text::LIMIT_NEGATIVE))?;
            self.limit = Some(limit);
            return Ok(Some(at + 2));
        }
        let policies =
            [("KEEPREF", RefPolicy::Keep), ("DELREF", RefPolicy::Delete), ("ACKED", RefPolicy::Acked)];
        match policies.iter().find(|(word, _)| is_word(option, word)) {
            // A second one is no option to Redis either.
            Some((_, policy)) if self.refs.is_none() => {
                self.refs = Some(*policy);
                Ok(Some(at + 1))
            }
            _ => Ok(None),
        }
    }

    /// The threshold after `MAXLEN` or `MINID`, and how many arguments it takes with `=` or `~`.
    fn threshold<'a>(&mut self, values: &[&'a [u8]]) -> Result<(&'a [u8], usize), CommandError> {
        if self.strategy.is_some() {
            return Err(text::MAXLEN_AND_MINID.into());
        }
        match *values {
            [b"~", threshold, ..] => {
                self.approximate = true;
                Ok((threshold, 2))
            }
            [b"=", threshold, ..] => Ok((threshold, 2)),
            [threshold, ..] => Ok((threshold, 1)),
            [] => Err(CommandError::syntax()),
        }
    }

    /// What to trim once all options are read; `without_strategy` is the error of a command that needs one.
    pub(crate) fn finish(self, without_strategy: Option<&'static str>) -> Result<Option<Trim>, CommandError> {
        if self.limit.is_some_and(|limit| limit > 0) && self.strategy.is_none() {
            return Err(text::LIMIT_WITHOUT_TRIM.into());
        }
        if let (None, Some(error)) = (self.strategy, without_strategy) {
            return Err(error.into());
        }
        if self.limit.is_some() && !self.approximate {
            return Err(text::LIMIT_WITHOUT_APPROX.into());
        }
        Ok(self.strategy.map(|strategy| Trim {
            strategy,
            approximate: self.approximate,
            limit: self.limit,
            refs: self.refs.unwrap_or_default(),
        }))
    }
}

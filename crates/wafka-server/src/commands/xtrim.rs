//! `XTRIM`.

use std::sync::Arc;

use wafka_broker::Trim;

use super::target::{Target, unless_deleted};
use super::trim_args::TrimArgs;
use crate::command::{Args, CommandError, HandlerFuture};
use crate::notify::Classes;
use crate::session::Session;

/// Redis's error for `LIMIT` or a reference policy alone.
const WITHOUT_STRATEGY: &str = "ERR syntax error, XTRIM must be called with a trimming strategy";

/// ```text
/// XTRIM key <MAXLEN | MINID> [= | ~] threshold [LIMIT count] [KEEPREF | DELREF | ACKED]
/// ```
///
/// Deletes the oldest events of a topic and answers how many went, once it is durable. `~` lets whole hundreds go
/// only, `LIMIT` of them at most. `key` names a whole topic.
fn parse(args: &[&[u8]]) -> Result<Trim, CommandError> {
    let mut options = TrimArgs::default();
    let mut at = 2;
    while at < args.len() {
        at = options.take(args, at)?.ok_or_else(CommandError::syntax)?;
    }
    options.finish(Some(WITHOUT_STRATEGY))?.ok_or_else(CommandError::syntax)
}

/// Executes `XTRIM`.
pub(crate) fn xtrim<'a>(session: &'a mut Session, args: &'a Args<'a>) -> HandlerFuture<'a> {
    Box::pin(async move {
        let trim = parse(args)?;
        let removed = match Target::find_topic(session, args[1])? {
            None => 0,
            Some(topic) => {
                let work = Arc::clone(&topic);
                let outcome = session.blocking(move |_| work.trim(&trim)).await?;
                let (removed, ticket) = unless_deleted(outcome)?.unwrap_or((0, None));
                if let Some(ticket) = ticket {
                    session.commit(&topic, ticket).await?;
                    session.notify(Classes::STREAM, "xtrim", args[1]);
                }
                removed
            }
        };
        session.reply().integer(i64::try_from(removed).unwrap_or(i64::MAX));
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use wafka_broker::{RefPolicy, TrimStrategy};
    use wafka_core::EventId;

    use super::*;

    fn parsed(line: &str) -> Result<Trim, String> {
        let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        parse(&args).map_err(|error| error.to_string())
    }

    #[test]
    fn strategies() {
        let max_len = |max, approximate, limit| Ok(Trim { approximate, limit, ..Trim::max_len(max) });
        let with = |max, refs| Ok(Trim { refs, ..Trim::max_len(max) });
        assert_eq!(parsed("XTRIM s MAXLEN 1"), max_len(1, false, None));
        assert_eq!(parsed("XTRIM s MAXLEN = 1"), max_len(1, false, None));
        assert_eq!(parsed("XTRIM s MAXLEN ~ 1 LIMIT 2"), max_len(1, true, Some(2)));
        assert_eq!(parsed("XTRIM s MAXLEN 2 ACKED"), with(2, RefPolicy::Acked));
        assert_eq!(parsed("XTRIM s DELREF MAXLEN 1"), with(1, RefPolicy::Delete));
        let strategy = TrimStrategy::MinId(EventId::new(9, 0));
        assert_eq!(
            parsed("XTRIM s minid 9"),
            Ok(Trim { strategy, approximate: false, limit: None, refs: RefPolicy::Keep })
        );
    }

    #[test]
    fn errors() {
        let both = "ERR syntax error, MAXLEN and MINID options at the same time are not compatible";
        for (line, expected) in [
            ("XTRIM s MAXLEN x", "ERR value is not an integer or out of range"),
            ("XTRIM s MAXLEN -1", "ERR The MAXLEN argument must be >= 0."),
            (
                "XTRIM s MAXLEN 1 LIMIT 2",
                "ERR syntax error, LIMIT cannot be used without the special ~ option",
            ),
            (
                "XTRIM s LIMIT 2",
                "ERR syntax error, LIMIT cannot be used without specifying a trimming strategy",
            ),
            ("XTRIM s LIMIT 0", WITHOUT_STRATEGY),
            ("XTRIM s DELREF LIMIT 0", WITHOUT_STRATEGY),
            ("XTRIM s NOPE 1", "ERR syntax error"),
            ("XTRIM s MAXLEN 1 MINID 1", both),
            ("XTRIM s MAXLEN 1 EXTRA", "ERR syntax error"),
            ("XTRIM s MAXLEN 1 NOPE", "ERR syntax error"),
            ("XTRIM s KEEPREF DELREF MAXLEN 1", "ERR syntax error"),
            ("XTRIM s MINID x", "ERR Invalid stream ID specified as stream command argument"),
        ] {
            assert_eq!(parsed(line), Err(expected.to_owned()), "{line}");
        }
    }
}

//! `XGROUP`.

use std::sync::Arc;

use wafka_broker::{GroupError, GroupStart, Topic, check_group_name};
use wafka_core::EventId;
use wafka_protocol::error_text::{self, stream as text};

use super::{commit, is_deleted};
use crate::command::{Args, CommandError, HandlerFuture};
use crate::commands::arguments::{event_id, integer, is_word};
use crate::commands::entry_reply::signed;
use crate::commands::help::reply_help;
use crate::commands::target::{Target, topic_name};
use crate::notify::Classes;
use crate::session::Session;

/// ```text
/// XGROUP CREATE key group <id | $> [MKSTREAM] [ENTRIESREAD entries-read]
/// XGROUP SETID key group <id | $> [ENTRIESREAD entries-read]
/// ```
///
/// What follows the id. The id itself is looked at once the key, and for `SETID` the group, are known to exist.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
struct StartOptions {
    /// Make the topic if there is none.
    create: bool,
    /// How many events the group is to have read; unknown without it, and when it is -1.
    entries_read: Option<u64>,
}

fn parse_options(args: &[&[u8]], may_create: bool) -> Result<StartOptions, CommandError> {
    let wrong = || CommandError::Reply(error_text::subcommand_syntax("XGROUP", args[1]).into());
    let mut options = StartOptions::default();
    let mut at = 5;
    while let Some(option) = args.get(at) {
        if may_create && is_word(option, "MKSTREAM") {
            options.create = true;
            at += 1;
        } else if let Some(value) = args.get(at + 1).filter(|_| is_word(option, "ENTRIESREAD")) {
            let read = integer(value)?;
            if read < -1 {
                return Err(text::ENTRIES_READ_NEGATIVE.into());
            }
            options.entries_read = u64::try_from(read).ok();
            at += 2;
        } else {
            return Err(wrong());
        }
    }
    // Redis counts as well as it reads.
    if args.len() > if may_create { 8 } else { 7 } {
        return Err(wrong());
    }
    Ok(options)
}

fn start(arg: &[u8]) -> Result<GroupStart, CommandError> {
    match arg {
        b"$" => Ok(GroupStart::Last),
        _ => event_id(arg).map(GroupStart::Id),
    }
}

/// Executes `XGROUP CREATE`.
pub(crate) fn create<'a>(session: &'a mut Session, args: &'a Args<'a>) -> HandlerFuture<'a> {
    Box::pin(async move {
        let options = parse_options(args, true)?;
        let (key, group) = (args[2], args[3]);
        let found = Target::find_topic(session, key)?;
        if found.is_none() && !options.create {
            return Err(text::XGROUP_NEEDS_KEY.into());
        }
        let start = start(args[4])?;
        // No topic is made for a group that cannot be.
        check_group_name(group)?;
        let mut topic = match found {
            Some(topic) => topic,
            None => make_topic(session, key).await?,
        };
        let ticket = loop {
            match topic.create_group(group, start, options.entries_read) {
                Err(error) if is_deleted(&error) && options.create => {
                    topic = make_topic(session, key).await?;
                }
                outcome => break of_key(outcome, key, group)?,
            }
        };
        if session.in_transaction() {
            // To those who wait, a transaction is one step.
            topic.watch_point().notify_group_back(group);
        }
        session.commit(&topic, ticket).await?;
        session.notify(Classes::STREAM, "xgroup-create", key);
        session.reply().ok();
        Ok(())
    })
}

/// The topic for `MKSTREAM`.
async fn make_topic(session: &Session, key: &[u8]) -> Result<Arc<Topic>, CommandError> {
    let (name, database) = (topic_name(key)?, session.database());
    let work = session.blocking(move |engine| {
        let spec = engine.spec_of(database, &name).clone();
        engine.create_topic(database, &name, Some(&spec))
    });
    let (topic, created) = work.await??;
    if created {
        session.notify(Classes::NEW, "new", key);
    }
    Ok(topic)
}

/// Executes `XGROUP SETID`.
pub(crate) fn set_id<'a>(session: &'a mut Session, args: &'a Args<'a>) -> HandlerFuture<'a> {
    Box::pin(async move {
        let options = parse_options(args, false)?;
        let topic = find(session, args)?;
        if !topic.has_group(args[3]) {
            return Err(text::no_group_of_key(args[2], args[3]).into());
        }
        // Redis knows the ends of a range here, but not in CREATE.
        let start = match args[4] {
            b"-" => GroupStart::Id(EventId::MIN),
            b"+" => GroupStart::Id(EventId::MAX),
            id => start(id)?,
        };
        let outcome = topic.set_group_id(args[3], start, options.entries_read);
        let ticket = of_key(outcome, args[2], args[3])?;
        session.commit(&topic, ticket).await?;
        session.notify(Classes::STREAM, "xgroup-setid", args[2]);
        session.reply().ok();
        Ok(())
    })
}

/// ```text
/// XGROUP DESTROY key group
/// ```
///
/// Removes a group and answers whether there was one.
pub(crate) fn destroy<'a>(session: &'a mut Session, args: &'a Args<'a>) -> HandlerFuture<'a> {
    Box::pin(async move {
        let topic = find(session, args)?;
        let ticket = of_key(topic.destroy_group(args[3]), args[2], args[3])?;
        commit(session, &topic, ticket).await?;
        if ticket.is_some() {
            session.notify(Classes::STREAM, "xgroup-destroy", args[2]);
        }
        session.reply().integer(i64::from(ticket.is_some()));
        Ok(())
    })
}

/// ```text
/// XGROUP CREATECONSUMER key group consumer
/// ```
///
/// Makes a consumer and answers whether there was none of that name.
pub(crate) fn create_consumer<'a>(session: &'a mut Session, args: &'a Args<'a>) -> HandlerFuture<'a> {
    Box::pin(async move {
        let topic = find(session, args)?;
        let outcome = topic.create_consumer(args[3], args[4], session.now_ms());
        let (created, ticket) = of_key(outcome, args[2], args[3])?;
        commit(session, &topic, ticket).await?;
        if created {
            session.notify(Classes::STREAM, "xgroup-createconsumer", args[2]);
        }
        session.reply().integer(i64::from(created));
        Ok(())
    })
}

/// ```text
/// XGROUP DELCONSUMER key group consumer
/// ```
///
/// Removes a consumer and answers how many events were pending for it; they are acknowledged by that.
pub(crate) fn delete_consumer<'a>(session: &'a mut Session, args: &'a Args<'a>) -> HandlerFuture<'a> {
    Box::pin(async move {
        let topic = find(session, args)?;
        let (pending, ticket) = of_key(topic.delete_consumer(args[3], args[4]), args[2], args[3])?;
        commit(session, &topic, ticket).await?;
        if ticket.is_some() {
            session.notify(Classes::STREAM, "xgroup-delconsumer", args[2]);
        }
        session.reply().integer(signed(pending));
        Ok(())
    })
}

/// ```text
/// XGROUP HELP
/// ```
pub(crate) fn help(session: &mut Session, _args: &Args<'_>) -> Result<(), CommandError> {
    reply_help(
        session,
        "XGROUP",
        &[
            "CREATE <key> <groupname> <id|$> [option]",
            "    Create a new consumer group. Options are:",
            "    * MKSTREAM",
            "      Create the empty stream if it does not exist.",
            "    * ENTRIESREAD entries_read",
            "      Set the group's entries_read counter (internal use).",
            "CREATECONSUMER <key> <groupname> <consumer>",
            "    Create a new consumer in the specified group.",
            "DELCONSUMER <key> <groupname> <consumer>",
            "    Remove the specified consumer.",
            "DESTROY <key> <groupname>",
            "    Remove the specified group.",
            "SETID <key> <groupname> <id|$> [ENTRIESREAD entries_read]",
            "    Set the current group ID and entries_read counter.",
        ],
    );
    Ok(())
}

/// The topic, which must exist.
fn find(session: &Session, args: &Args<'_>) -> Result<Arc<Topic>, CommandError> {
    Target::find_topic(session, args[2])?.ok_or(text::XGROUP_NEEDS_KEY.into())
}

/// What the engine did, in `XGROUP`'s words.
fn of_key<T>(outcome: Result<T, GroupError>, key: &[u8], group: &[u8]) -> Result<T, CommandError> {
    match outcome {
        Ok(value) => Ok(value),
        Err(GroupError::NoGroup) => Err(text::no_group_of_key(key, group).into()),
        Err(error) if is_deleted(&error) => Err(text::XGROUP_NEEDS_KEY.into()),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(line: &str, may_create: bool) -> Result<(bool, Option<u64>), String> {
        let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        let options = parse_options(&args, may_create).map_err(|error| error.to_string())?;
        Ok((options.create, options.entries_read))
    }

    #[test]
    fn options_of_create_and_setid() {
        assert_eq!(options("XGROUP CREATE s g $", true), Ok((false, None)));
        assert_eq!(options("XGROUP CREATE s g $ mkstream", true), Ok((true, None)));
        assert_eq!(options("XGROUP CREATE s g 0 ENTRIESREAD 2 MKSTREAM", true), Ok((true, Some(2))));
        assert_eq!(options("XGROUP CREATE s g 0 ENTRIESREAD -1", true), Ok((false, None)));
        assert_eq!(options("XGROUP SETID s g 0 entriesread 0", false), Ok((false, Some(0))));
    }

    #[test]
    fn errors() {
        let of = |name: &str| {
            format!("ERR unknown subcommand or wrong number of arguments for '{name}'. Try XGROUP HELP.")
        };
        for (line, expected) in [
            ("XGROUP CREATE s g 0 NOPE", of("CREATE")),
            ("XGROUP create s g 0 ENTRIESREAD", of("create")),
            ("XGROUP CREATE s g 0 MKSTREAM MKSTREAM MKSTREAM MKSTREAM", of("CREATE")),
            ("XGROUP SETID s g 0 MKSTREAM", of("SETID")),
            ("XGROUP SETID s g 0 NOPE 1", of("SETID")),
            ("XGROUP SETID s g 0 ENTRIESREAD 1 ENTRIESREAD 1", of("SETID")),
            ("XGROUP CREATE s g 0 ENTRIESREAD x", "ERR value is not an integer or out of range".to_owned()),
            ("XGROUP CREATE s g 0 ENTRIESREAD -2", text::ENTRIES_READ_NEGATIVE.to_owned()),
        ] {
            assert_eq!(options(line, line.to_ascii_uppercase().contains("CREATE")), Err(expected), "{line}");
        }
    }

    #[test]
    fn where_a_group_begins() {
        assert_eq!(start(b"$").unwrap(), GroupStart::Last);
        assert_eq!(start(b"7").unwrap(), GroupStart::Id(wafka_core::EventId::new(7, 0)));
        for bad in ["-", "+", "x", ">"] {
            let expected = "ERR Invalid stream ID specified as stream command argument";
            assert_eq!(start(bad.as_bytes()).unwrap_err().to_string(), expected, "{bad}");
        }
    }
}

//! `XINFO`.

use std::sync::Arc;

use wafka_broker::{IdempotenceInfo, ReadRange, TopicInfo};
use wafka_core::EventId;
use wafka_protocol::error_text;

use super::arguments::{integer, is_word};
use super::entry_reply::{append_each, append_entries, signed};
use super::group::xinfo::write_full_groups;
use super::help::reply_help;
use super::target::Target;
use crate::command::{Args, CommandError, HandlerFuture};
use crate::session::Session;

/// Entries that `FULL` shows without `COUNT`.
const FULL_COUNT_DEFAULT: u64 = 10;

/// ```text
/// XINFO STREAM key [FULL [COUNT count]]
/// ```
///
/// What there is to tell of a topic, or with `topic#n` of one partition; with `FULL` the first `count` entries (0:
/// all) in place of the first and last one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Detail {
    Summary,
    Full { count: Option<u64> },
}

fn parse_detail(args: &[&[u8]]) -> Result<Detail, CommandError> {
    match args[3..] {
        [] => Ok(Detail::Summary),
        [full] if is_word(full, "FULL") => Ok(Detail::Full { count: Some(FULL_COUNT_DEFAULT) }),
        [full, option, value] if is_word(full, "FULL") && is_word(option, "COUNT") => {
            let count = u64::try_from(integer(value)?).unwrap_or(FULL_COUNT_DEFAULT);
            Ok(Detail::Full { count: Some(count).filter(|count| *count > 0) })
        }
        _ => Err(CommandError::Reply(error_text::subcommand_syntax("XINFO", args[1]).into())),
    }
}

/// Executes `XINFO STREAM`.
pub(crate) fn stream<'a>(session: &'a mut Session, args: &'a Args<'a>) -> HandlerFuture<'a> {
    Box::pin(async move {
        let target = find(session, args)?;
        let detail = parse_detail(args)?;
        let summary = summary(session, &target).await?;
        session.reply().map(SUMMARY_FIELDS + if detail == Detail::Summary { 3 } else { 2 });
        write_summary(session, &summary);
        match detail {
            Detail::Summary => {
                let groups = if target.partition.is_none() { target.topic.group_count() } else { 0 };
                field(session, "groups").integer(signed(groups));
                for (name, last) in [("first-entry", false), ("last-entry", true)] {
                    field(session, name);
                    if append_each(session, &target, target.one(last)).await? == 0 {
                        session.reply().null();
                    }
                }
            }
            Detail::Full { count } => {
                field(session, "entries");
                let range = ReadRange { count, ..target.one(false) };
                append_entries(session, &target, range).await?;
                field(session, "groups");
                write_full_groups(session, &target, count).await?;
            }
        }
        Ok(())
    })
}

/// ```text
/// XINFO HELP
/// ```
pub(crate) fn help(session: &mut Session, _args: &Args<'_>) -> Result<(), CommandError> {
    reply_help(
        session,
        "XINFO",
        &[
            "CONSUMERS <key> <groupname>",
            "    Show consumers of <groupname>.",
            "GROUPS <key>",
            "    Show the stream consumer groups.",
            "STREAM <key> [FULL [COUNT <count>]",
            "    Show information about the stream.",
        ],
    );
    Ok(())
}

fn find(session: &Session, args: &Args<'_>) -> Result<Target, CommandError> {
    Target::find(session, args[2])?.ok_or(error_text::NO_SUCH_KEY.into())
}

/// What both forms of `XINFO STREAM` begin with.
struct Summary {
    length: u64,
    last_id: EventId,
    max_deleted_id: EventId,
    entries_added: u64,
    first_id: EventId,
    idempotence: Option<IdempotenceInfo>,
}

async fn summary(session: &Session, target: &Target) -> Result<Summary, CommandError> {
    let topic = Arc::clone(&target.topic);
    let info = session.blocking(move |_| topic.info()).await??;
    match target.partition {
        None => Ok(Summary {
            length: info.length,
            last_id: info.last_id,
            max_deleted_id: info.max_deleted_id,
            entries_added: info.entries_added,
            first_id: info.first_id,
            idempotence: info.idempotence,
        }),
        Some(_) => partition_summary(session, target, &info).await,
    }
}

/// A partition counts what was ever added by its offsets; deletions are noted of whole topics only.
async fn partition_summary(
    session: &Session,
    target: &Target,
    info: &TopicInfo,
) -> Result<Summary, CommandError> {
    let found = info.partitions.iter().find(|found| Some(found.partition) == target.partition);
    let (last_id, entries_added) =
        found.map_or((EventId::MIN, 0), |found| (found.current, found.next_offset));
    let reader = target.clone();
    let first_id = session.blocking(move |_| reader.event_id(false)).await??;
    Ok(Summary {
        length: target.len()?,
        last_id,
        max_deleted_id: info.max_deleted_id,
        entries_added,
        first_id: first_id.unwrap_or(EventId::MIN),
        idempotence: info.idempotence,
    })
}

/// How many fields [`write_summary`] writes.
const SUMMARY_FIELDS: usize = 13;

fn write_summary(session: &mut Session, summary: &Summary) {
    let keys = match session.engine().node_entries() {
        0 => summary.length.min(1),
        entries => summary.length.div_ceil(entries),
    };
    // There is no radix tree: these are the least that Redis would need for so many entries.
    field(session, "length").integer(signed(summary.length));
    field(session, "radix-tree-keys").integer(signed(keys));
    field(session, "radix-tree-nodes").integer(signed(keys + 1));
    field(session, "last-generated-id").bulk_id(summary.last_id);
    field(session, "max-deleted-entry-id").bulk_id(summary.max_deleted_id);
    field(session, "entries-added").integer(signed(summary.entries_added));
    field(session, "recorded-first-entry-id").bulk_id(summary.first_id);
    write_idempotence(session, summary.idempotence);
}

/// A topic that never had an idempotent event has the settings that it would get with the first.
fn write_idempotence(session: &mut Session, info: Option<IdempotenceInfo>) {
    let settings = info.map_or_else(|| session.shared.settings.idempotence(), |info| info.settings);
    let count = |of: fn(&IdempotenceInfo) -> u64| signed(info.as_ref().map_or(0, of));
    field(session, "idmp-duration").integer(i64::from(settings.duration_secs));
    field(session, "idmp-maxsize").integer(i64::from(settings.max_iids));
    field(session, "pids-tracked").integer(count(|info| info.producers));
    field(session, "iids-tracked").integer(count(|info| info.iids));
    field(session, "iids-added").integer(count(|info| info.added));
    field(session, "iids-duplicates").integer(count(|info| info.duplicates));
}

/// Writes a field's name; its value follows.
fn field<'a>(session: &'a mut Session, name: &str) -> wafka_protocol::ReplyWriter<'a> {
    let mut reply = session.reply();
    reply.bulk(name.as_bytes());
    reply
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Detail, String> {
        let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        parse_detail(&args).map_err(|error| error.to_string())
    }

    #[test]
    fn detail() {
        assert_eq!(parsed("XINFO STREAM s"), Ok(Detail::Summary));
        assert_eq!(parsed("XINFO STREAM s full"), Ok(Detail::Full { count: Some(10) }));
        assert_eq!(parsed("XINFO STREAM s FULL count 1"), Ok(Detail::Full { count: Some(1) }));
        assert_eq!(parsed("XINFO STREAM s FULL COUNT 0"), Ok(Detail::Full { count: None }));
        assert_eq!(parsed("XINFO STREAM s FULL COUNT -1"), Ok(Detail::Full { count: Some(10) }));
    }

    #[test]
    fn errors() {
        let syntax = "ERR unknown subcommand or wrong number of arguments for 'STREAM'. Try XINFO HELP.";
        for (line, expected) in [
            ("XINFO STREAM s NOPE", syntax),
            ("XINFO STREAM s FULL COUNT", syntax),
            ("XINFO STREAM s FULL NOPE 1", syntax),
            ("XINFO STREAM s FULL COUNT 1 x", syntax),
            ("XINFO STREAM s FULL COUNT x", "ERR value is not an integer or out of range"),
        ] {
            assert_eq!(parsed(line), Err(expected.to_owned()), "{line}");
        }
    }
}

//! `TOPIC`: topics by what they are made of, which Redis has no commands for.

use std::sync::Arc;

use wafka_broker::{PartitionInfo, PartitionState, Topic, TopicError, TopicInfo, TopicSpec};
use wafka_core::{Database, EventId};
use wafka_protocol::error_text;
use wafka_protocol::parse::glob_match;

use super::arguments::is_word;
use super::describe::{count, key, map_of_options, optional_id};
use super::help::reply_help;
use super::keys::delete;
use super::target::{Target, topic_name};
use super::topic_spec::SpecArgs;
use crate::command::{Args, CommandError, HandlerFuture};
use crate::notify::Classes;
use crate::session::Session;

/// ```text
/// TOPIC CREATE name [PARTITIONS count] [PARTITIONER name] [BACKEND name] [OPTION key value]…
/// ```
///
/// Creates a topic; what is not said is as the configuration declares it. `TOPICEXISTS` if there is one.
pub(crate) fn create<'a>(session: &'a mut Session, args: &'a Args<'a>) -> HandlerFuture<'a> {
    Box::pin(async move {
        let name = topic_name(args[2])?;
        let spec = SpecArgs::parse(&args[3..])?;
        let database = session.database();
        let created = session
            .blocking(move |engine| {
                let spec = spec.apply(engine.spec_of(database, &name).clone());
                match engine.create_topic(database, &name, Some(&spec))? {
                    (_, true) => Ok(()),
                    (topic, false) => Err(TopicError::Exists(topic.name().to_string())),
                }
            })
            .await?;
        created?;
        session.notify(Classes::NEW, "new", args[2]);
        session.reply().ok();
        Ok(())
    })
}

/// ```text
/// TOPIC ALTER name [OPTION key value]…
/// ```
///
/// Changes options of a topic's partitioner, for events to come, and makes it anew: one that panicked routes again.
pub(crate) fn alter<'a>(session: &'a mut Session, args: &'a Args<'a>) -> HandlerFuture<'a> {
    Box::pin(async move {
        let change = SpecArgs::parse_alter(&args[3..])?;
        let topic = find(session, args[2])?;
        let database = session.database();
        let altered = session
            .blocking(move |engine| {
                let info = topic.info()?;
                let base = TopicSpec {
                    partitions: None,
                    partitioner: info.partitioner,
                    options: info.options,
                    backend: None,
                };
                engine.alter_topic(database, topic.name().as_bytes(), &change.apply(base))?;
                Ok::<(), CommandError>(())
            })
            .await?;
        altered?;
        session.reply().ok();
        Ok(())
    })
}

/// ```text
/// TOPIC DELETE name [name …]
/// ```
///
/// `DEL` by another name.
pub(crate) fn delete_topics<'a>(session: &'a mut Session, args: &'a Args<'a>) -> HandlerFuture<'a> {
    Box::pin(async move {
        let deleted = delete(session, &args[2..]).await?;
        count(&mut session.reply(), deleted as u64);
        Ok(())
    })
}

/// ```text
/// TOPIC LIST [MATCH pattern] [BACKEND name]
/// ```
///
/// The names of the topics of the database, or of those in one storage backend, sorted.
pub(crate) fn list(session: &mut Session, args: &Args<'_>) -> Result<(), CommandError> {
    let (mut pattern, mut backend) = (None, None);
    let mut rest = &args[2..];
    while let [word, value, after @ ..] = rest {
        let option = match () {
            () if is_word(word, "MATCH") => &mut pattern,
            () if is_word(word, "BACKEND") => &mut backend,
            () => return Err(CommandError::syntax()),
        };
        *option = Some(*value);
        rest = after;
    }
    if !rest.is_empty() {
        return Err(CommandError::syntax());
    }
    let mut topics = session.engine().topics(session.database());
    topics.retain(|topic| pattern.is_none_or(|pattern| glob_match(pattern, topic.name().as_bytes(), false)));
    topics.retain(|topic| backend.is_none_or(|backend| topic.backend().as_bytes() == backend));
    topics.sort_by(|a, b| a.name().cmp(b.name()));
    let mut reply = session.reply();
    reply.array(topics.len());
    for topic in topics {
        reply.bulk(topic.name().as_bytes());
    }
    Ok(())
}

/// ```text
/// TOPIC DESCRIBE name
/// ```
///
/// All there is to tell about a topic and its partitions.
pub(crate) fn describe<'a>(session: &'a mut Session, args: &'a Args<'a>) -> HandlerFuture<'a> {
    Box::pin(async move {
        let topic = find(session, args[2])?;
        let database = topic.database();
        let work = Arc::clone(&topic);
        let info = session.blocking(move |_| work.info()).await??;
        write_topic(session, &topic, database, &info);
        Ok(())
    })
}

/// ```text
/// TOPIC HELP
/// ```
pub(crate) fn help(session: &mut Session, _args: &Args<'_>) -> Result<(), CommandError> {
    reply_help(
        session,
        "TOPIC",
        &[
            "ALTER <name> [OPTION <key> <value> ...]",
            "    Change options of the topic's partitioner, and make it anew.",
            "CREATE <name> [PARTITIONS <count>] [PARTITIONER <name>] [BACKEND <name>] [OPTION <key> <value> ...]",
            "    Create a topic.",
            "DELETE <name> [<name> ...]",
            "    Delete topics with all their events.",
            "DESCRIBE <name>",
            "    Tell all about a topic and its partitions.",
            "LIST [MATCH <pattern>] [BACKEND <name>]",
            "    List the names of the topics.",
        ],
    );
    Ok(())
}

fn find(session: &Session, name: &[u8]) -> Result<Arc<Topic>, CommandError> {
    Target::find_topic(session, name)?.ok_or(error_text::NO_SUCH_KEY.into())
}

fn write_topic(session: &mut Session, topic: &Topic, database: Database, info: &TopicInfo) {
    let mut reply = session.reply();
    reply.map(14);
    key(&mut reply, "name").bulk(topic.name().as_bytes());
    key(&mut reply, "database").integer(i64::from(database.0));
    count(key(&mut reply, "length"), info.length);
    optional_id(key(&mut reply, "first_event_id"), Some(info.first_id).filter(|id| *id > EventId::MIN));
    key(&mut reply, "last_generated_id").bulk_id(info.last_id);
    key(&mut reply, "max_deleted_event_id").bulk_id(info.max_deleted_id);
    count(key(&mut reply, "events_added"), info.entries_added);
    key(&mut reply, "backend").bulk(info.backend.as_bytes());
    key(&mut reply, "partitioner").bulk(info.partitioner.as_bytes());
    key(&mut reply, "partitioner_version").integer(i64::from(info.partitioner_version));
    map_of_options(key(&mut reply, "options"), &info.options);
    count(key(&mut reply, "unkeyed_events"), info.unkeyed);
    key(&mut reply, "read_only");
    match &info.read_only {
        Some(reason) => reply.bulk(reason.as_bytes()),
        None => reply.null(),
    }
    key(&mut reply, "partitions").array(info.partitions.len());
    for partition in &info.partitions {
        write_partition(session, partition);
    }
}

fn write_partition(session: &mut Session, partition: &PartitionInfo) {
    let mut reply = session.reply();
    reply.map(10);
    key(&mut reply, "partition").integer(i64::from(partition.partition.0));
    key(&mut reply, "broker_id").integer(i64::from(partition.broker.0));
    key(&mut reply, "file").bulk(partition.file.as_bytes());
    optional_id(key(&mut reply, "current_event_id"), Some(partition.current).filter(|id| *id > EventId::MIN));
    count(key(&mut reply, "next_offset"), partition.next_offset);
    count(key(&mut reply, "length"), partition.length);
    count(key(&mut reply, "lines"), partition.lines);
    count(key(&mut reply, "bytes"), partition.bytes);
    key(&mut reply, "state");
    match &partition.state {
        PartitionState::Online => reply.bulk(b"online"),
        PartitionState::Offline { reason } => reply.bulk(format!("offline: {reason}").as_bytes()),
    }
    key(&mut reply, "damage").array(partition.damage.len());
    for damage in &partition.damage {
        reply.map(3);
        count(key(&mut reply, "position"), damage.position);
        count(key(&mut reply, "bytes"), damage.bytes);
        key(&mut reply, "reason").bulk(damage.reason.as_bytes());
    }
}

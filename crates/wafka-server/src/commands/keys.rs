//! `DEL`, `UNLINK`, `EXISTS`, `TOUCH`, `TYPE`, `KEYS`, `RANDOMKEY`, `DBSIZE`, `FLUSHDB`, `FLUSHALL`.
//!
//! Every key is a topic. `topic#n` exists if the topic has that partition, but is never listed.

use std::collections::HashSet;
use std::hash::{BuildHasher, Hasher, RandomState};

use wafka_core::Database;
use wafka_protocol::parse::glob_match;

use super::arguments::is_word;
use super::target::{Target, exists};
use crate::command::{Args, CommandError, HandlerFuture};
use crate::notify::Classes;
use crate::session::Session;

/// ```text
/// DEL key [key …]
/// UNLINK key [key …]
/// ```
///
/// Deletes topics with all that belongs to them and answers how many there were, once it is durable. A key that
/// names one partition of a topic is refused before anything is deleted.
pub(crate) fn del<'a>(session: &'a mut Session, args: &'a Args<'a>) -> HandlerFuture<'a> {
    Box::pin(async move {
        let deleted = delete(session, &args[1..]).await?;
        session.reply().integer(integer(deleted));
        Ok(())
    })
}

/// Deletes the topics among `keys`; how many there were.
pub(crate) async fn delete(session: &Session, keys: &[&[u8]]) -> Result<usize, CommandError> {
    let database = session.database();
    let mut names: Vec<Vec<u8>> = Vec::new();
    for key in keys {
        if Target::find_topic(session, key)?.is_some() {
            names.push(key.to_vec());
        }
    }
    if names.is_empty() {
        return Ok(0);
    }
    let transaction = session.transaction().cloned();
    let work = session.blocking(move |engine| {
        let slices: Vec<&[u8]> = names.iter().map(Vec::as_slice).collect();
        let deleted = match &transaction {
            None => engine.delete_topics(database, &slices),
            Some(transaction) => Ok(transaction.delete(database, &slices)),
        };
        (deleted, names)
    });
    let (deleted, names) = work.await?;
    let deleted = deleted?;
    // One named twice was deleted once.
    let mut seen = HashSet::new();
    for name in names.iter().filter(|name| deleted > 0 && seen.insert(name.as_slice())) {
        session.notify(Classes::GENERIC, "del", name);
    }
    Ok(deleted)
}

/// ```text
/// EXISTS key [key …]
/// ```
///
/// How many of the keys exist; one named twice counts twice.
pub(crate) fn exists_count(session: &mut Session, args: &Args<'_>) -> Result<(), CommandError> {
    let (engine, database) = (session.engine(), session.database());
    let found = args[1..].iter().filter(|key| exists(engine, database, key)).count();
    session.reply().integer(integer(found));
    Ok(())
}

/// ```text
/// TOUCH key [key …]
/// ```
///
/// As `EXISTS`; the topics count as used, also when the client has `CLIENT NO-TOUCH` on.
pub(crate) fn touch(session: &mut Session, args: &Args<'_>) -> Result<(), CommandError> {
    let (engine, database) = (session.engine(), session.database());
    let mut found = 0;
    for key in &args[1..] {
        if let Ok(Some(target)) = Target::look_up(engine, database, key) {
            target.topic.touch();
            found += 1;
        }
    }
    session.reply().integer(integer(found));
    Ok(())
}

/// ```text
/// TYPE key
/// ```
///
/// `stream`, or `none` when there is no such topic.
pub(crate) fn type_of(session: &mut Session, args: &Args<'_>) -> Result<(), CommandError> {
    let exists = exists(session.engine(), session.database(), args[1]);
    session.reply().simple(if exists { "stream" } else { "none" });
    Ok(())
}

/// ```text
/// KEYS pattern
/// ```
///
/// The names of the topics that match a glob pattern.
pub(crate) fn keys(session: &mut Session, args: &Args<'_>) -> Result<(), CommandError> {
    let mut topics = session.engine().topics(session.database());
    topics.retain(|topic| glob_match(args[1], topic.name().as_bytes(), false));
    let mut reply = session.reply();
    reply.array(topics.len());
    for topic in topics {
        reply.bulk(topic.name().as_bytes());
    }
    Ok(())
}

/// ```text
/// RANDOMKEY
/// ```
///
/// The name of a topic taken at random; null when there is none.
pub(crate) fn random_key(session: &mut Session, _args: &Args<'_>) -> Result<(), CommandError> {
    let topics = session.engine().topics(session.database());
    // A hasher with fresh keys, and nothing hashed: the keys are random.
    let random = RandomState::new().build_hasher().finish();
    let chosen = random.checked_rem(topics.len() as u64).and_then(|at| topics.get(usize::try_from(at).ok()?));
    match chosen {
        Some(topic) => session.reply().bulk(topic.name().as_bytes()),
        None => session.reply().null(),
    }
    Ok(())
}

/// ```text
/// DBSIZE
/// ```
///
/// The number of topics.
pub(crate) fn db_size(session: &mut Session, _args: &Args<'_>) -> Result<(), CommandError> {
    let count = session.engine().topic_count(session.database());
    session.reply().integer(integer(count));
    Ok(())
}

/// ```text
/// FLUSHDB [ASYNC | SYNC]
/// ```
///
/// Deletes all topics of the database. Durable when answered, with `ASYNC` too.
pub(crate) fn flush_db<'a>(session: &'a mut Session, args: &'a Args<'a>) -> HandlerFuture<'a> {
    let database = session.database();
    Box::pin(flush(session, args, Some(database)))
}

/// ```text
/// FLUSHALL [ASYNC | SYNC]
/// ```
///
/// Deletes all topics of all databases. Durable when answered, with `ASYNC` too.
pub(crate) fn flush_all<'a>(session: &'a mut Session, args: &'a Args<'a>) -> HandlerFuture<'a> {
    Box::pin(flush(session, args, None))
}

async fn flush(
    session: &mut Session,
    args: &Args<'_>,
    database: Option<Database>,
) -> Result<(), CommandError> {
    check_flush_mode(&args[1..])?;
    session.blocking(move |engine| engine.flush(database)).await??;
    session.reply().ok();
    Ok(())
}

fn check_flush_mode(args: &[&[u8]]) -> Result<(), CommandError> {
    match args {
        [] => Ok(()),
        [mode] if is_word(mode, "ASYNC") || is_word(mode, "SYNC") => Ok(()),
        _ => Err(CommandError::syntax()),
    }
}

fn integer(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flushing_knows_two_modes() {
        for good in [&[][..], &[&b"async"[..]], &[b"SYNC"]] {
            assert!(check_flush_mode(good).is_ok());
        }
        for bad in [&[&b"NOPE"[..]][..], &[b"ASYNC", b"SYNC"]] {
            assert_eq!(check_flush_mode(bad).unwrap_err().to_string(), "ERR syntax error");
        }
    }
}

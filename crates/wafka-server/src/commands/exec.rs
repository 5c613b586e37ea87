//! `EXEC`.

use std::collections::BTreeSet;
use std::sync::Arc;

use wafka_broker::Topic;
use wafka_core::{Database, TopicKey, TopicName};

use super::connection::database_number;
use crate::command::{Args, CommandError, Flags, HandlerFuture, KeysOf};
use crate::execute;
use crate::gate::Mode;
use crate::session::{Queue, Queued, Session};

const EXEC_WITHOUT_MULTI: &str = "ERR EXEC without MULTI";
const EXECABORT: &str = "EXECABORT Transaction discarded because of previous errors.";

/// ```text
/// EXEC
/// ```
///
/// Executes what was queued since `MULTI`: one command after the other, with nobody in between, and answers their
/// replies as an array; null when something watched was modified. Each command sees what those before it did. One that
/// fails does not keep the others from being executed.
pub(crate) fn exec<'a>(session: &'a mut Session, _args: &'a Args<'a>) -> HandlerFuture<'a> {
    Box::pin(async move {
        let queue = session.take_queue().ok_or(EXEC_WITHOUT_MULTI)?;
        let watching = session.take_watching();
        if queue.aborted {
            return Err(EXECABORT.into());
        }
        let keys = keys_of(session, &queue, |_| true);
        session
            .begin_transaction(keys.iter().map(|(database, key)| (*database, *key)), names_mode(&queue))
            .await;
        let topics = topics_of(session, &keys);
        settle(session, &topics).await;
        let result = if watching.is_modified(session.shared.engine()) {
            session.reply().null_array();
            Ok(())
        } else {
            execute_all(session, &queue).await
        };
        session.end_transaction();
        result
    })
}

/// How the gate of the set of names is to be held.
fn names_mode(queue: &Queue) -> Mode {
    let all_names = queue.commands.iter().any(|queued| queued.command.flags.contains(Flags::ALL_NAMES));
    if all_names { Mode::Exclusive } else { Mode::Shared }
}

/// The names that the queued commands are about, or those of them that count, by database.
fn keys_of<'a>(
    session: &Session,
    queue: &'a Queue,
    counts: impl Fn(&Queued) -> bool,
) -> BTreeSet<(Database, &'a [u8])> {
    let mut database = session.database();
    let mut names = BTreeSet::new();
    for queued in &queue.commands {
        let args = queued.args();
        if queued.command.full_name == "select" {
            database = database_number(session, args[1]).unwrap_or(database);
        }
        if !counts(queued) {
            continue;
        }
        let keys = KeysOf::find(queued.command.keys, &args);
        names.extend(
            keys.iter().flat_map(|keys| keys.iter()).map(|key| (database, TopicKey::parse(key).topic)),
        );
    }
    names
}

fn topics_of(session: &Session, names: &BTreeSet<(Database, &[u8])>) -> Vec<Arc<Topic>> {
    let Some(engine) = session.shared.engine() else { return Vec::new() };
    names.iter().filter_map(|(database, name)| engine.topic(*database, name)).collect()
}

/// Waits until everything that was accepted for the topics is durable and visible, or has failed.
async fn settle(session: &Session, topics: &[Arc<Topic>]) {
    for topic in topics {
        while let Some(ticket) = topic.open_ticket() {
            // Whoever asked for it is told if it failed.
            let _ = session.commit(topic, ticket).await;
        }
    }
}

/// Executes the commands and writes the reply.
async fn execute_all(session: &mut Session, queue: &Queue) -> Result<(), CommandError> {
    if let Some(names) = names_to_note(session, queue) {
        let begun = session.blocking(move |engine| engine.begin_transaction(names)).await?;
        session.set_transaction(Arc::new(begun?));
    }
    session.reply().array(queue.commands.len());
    let mut closed = false;
    for queued in &queue.commands {
        // What is begun is carried through, also when nobody is left to read the reply.
        closed |= !execute::queued(session, queued.command, &queued.args()).await;
    }
    session.settle().await;
    if let Some(transaction) = session.transaction().cloned() {
        session.blocking(move |_| transaction.commit()).await??;
    }
    session.publish_held_events();
    if closed { Err(CommandError::Closed) } else { Ok(()) }
}

/// The names that the transaction may change, if a crash could leave it half done. A single command is as whole as it is
/// by itself.
fn names_to_note(session: &Session, queue: &Queue) -> Option<Vec<(Database, TopicName)>> {
    if queue.commands.iter().filter(|queued| queued.writes()).count() < 2 {
        return None;
    }
    let names = keys_of(session, queue, Queued::writes).into_iter();
    // A name that cannot be a topic's is an error of its command.
    Some(names.filter_map(|(database, name)| Some((database, TopicName::new(name).ok()?))).collect())
}

//! Takes a request to its handler: finds the command, checks what it may be refused for, runs it, counts it.

use std::time::Instant;

use wafka_protocol::error_text;

use crate::command::{Append, Args, Command, CommandError, Flags, Handler, lookup, subcommand};
use crate::observe;
use crate::session::{Queue, Session};

/// Where a request stands after [`without_waiting`].
pub(crate) enum Outcome {
    /// Executed; its reply is written or owed.
    Done,
    /// It goes on with [`waiting`], once all replies owed are written.
    Waits(Request),
}

/// What is known of a request that has to wait.
pub(crate) enum Request {
    /// To be executed, if nothing is against it.
    Run,
    /// Its append failed.
    Failed(&'static Command, CommandError),
}

/// Executes a request if that is an append that needs not wait. The hot path: nothing here allocates.
pub(crate) fn without_waiting(session: &mut Session, args: &Args<'_>) -> Outcome {
    let Some(command) = lookup(args[0]) else { return Outcome::Waits(Request::Run) };
    let Handler::Append { fast, .. } = command.handler else { return Outcome::Waits(Request::Run) };
    let refused = !session.is_authenticated() || session.is_restricted() || session.is_queueing();
    let closed = !session.shared.standing.is_open() || session.shared.pause.holds(true);
    if !command.accepts(args.len()) || refused || closed {
        return Outcome::Waits(Request::Run);
    }
    // `EXEC` may be at work on the topic; then the append waits for it.
    if !session.try_key(args[1]) {
        return Outcome::Waits(Request::Run);
    }
    session.begin_command();
    let measured = session.shared.observers.watch_appends().then(Instant::now);
    match fast(session, args) {
        Ok(Append::Pending) => {
            session.count_append(command.index);
            if let Some(begin) = measured {
                observe::append_ends(session, command, args, begin.elapsed());
            }
            session.end_command();
            Outcome::Done
        }
        // The command begins again there.
        Ok(Append::Slow) => Outcome::Waits(Request::Run),
        Err(error) => Outcome::Waits(Request::Failed(command, error)),
    }
}

/// Executes a request to its end. No replies may be owed.
pub(crate) async fn waiting(session: &mut Session, request: Request, args: &Args<'_>) {
    session.begin_command();
    session.client.set_busy(true);
    match request {
        Request::Failed(command, error) => {
            session.shared.stats.command(command.index).calls.add(1);
            session.shared.stats.commands.add(1);
            session.client.totals.commands.add(1);
            observe::show(session, command, args);
            conclude(session, command, Err(error));
        }
        Request::Run if is_http(args[0]) => {
            tracing::warn!(client = session.client.id, addr = %session.client.addr, "closing: this is an HTTP request");
            session.close_without_reply();
        }
        Request::Run => match find(session, args) {
            Ok(command) => execute(session, command, args).await,
            Err(text) => refuse(session, args, text),
        },
    }
    // Its idle time begins when it can act again.
    session.client.touch();
    session.client.set_busy(false);
    session.end_command();
}

/// Executes a command that is allowed here, as soon as it may begin, or queues it.
async fn execute(session: &mut Session, command: &'static Command, args: &Args<'_>) {
    session.client.set_last_command(command.index);
    if !may_begin(session, command).await {
        return conclude(session, command, Err(CommandError::Closed));
    }
    if let Some(text) = not_owner(session, command) {
        session.shared.stats.command(command.index).rejected.add(1);
        return refuse(session, args, text);
    }
    let result = if session.is_queueing() && !ends_queueing(command) {
        queue(session, command, args)
    } else {
        run(session, command, args).await
    };
    conclude(session, command, result);
}

/// Whether a command is the beginning of an HTTP request, or its first header. A web page can make a browser send one
/// here with commands as its body; as Redis does, the connection is ended before any of them is read.
fn is_http(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"POST") || name.eq_ignore_ascii_case(b"Host:")
}

/// Turns a failed command's reply into the error.
fn conclude(session: &mut Session, command: &Command, result: Result<(), CommandError>) {
    let Err(error) = result else { return };
    session.shared.stats.command(command.index).failed.add(1);
    match error {
        CommandError::Closed => session.close_without_reply(),
        error => session.fail(&error.to_string()),
    }
}

/// Whether a command is executed at once also after `MULTI`.
fn ends_queueing(command: &Command) -> bool {
    matches!(command.full_name, "exec" | "discard" | "multi" | "watch" | "quit" | "reset")
}

/// Keeps a command for `EXEC`.
fn queue(session: &mut Session, command: &'static Command, args: &Args<'_>) -> Result<(), CommandError> {
    if command.flags.contains(Flags::UNQUEUED) {
        session.abort_queue();
        return Err(error_text::not_in_transaction(command.full_name).into());
    }
    session.enqueue(command, args)?;
    session.reply().simple("QUEUED");
    Ok(())
}

/// Refuses what is no command, or none that may be used now; a transaction is lost with it.
fn refuse(session: &mut Session, args: &Args<'_>, mut text: String) {
    if lookup(args[0]).is_some_and(|command| command.name == "exec") {
        session.discard();
        text = error_text::exec_abort(&text);
    }
    session.abort_queue();
    session.fail(&text);
}

/// Waits while `CLIENT PAUSE` holds the command back; false when the connection ends before that.
async fn may_begin(session: &mut Session, command: &Command) -> bool {
    let exec_writes = command.name == "exec" && session.queue().is_some_and(Queue::writes);
    let writes = command.flags.contains(Flags::WRITE) || exec_writes;
    // What is there to end a pause is not held back by it.
    let exempt = matches!(command.full_name, "client|pause" | "client|unpause" | "shutdown");
    exempt || !session.shared.pause.holds(writes) || session.wait_for_pause(writes).await
}

/// Finds the command and checks what it may be refused for; the error's text otherwise.
fn find(session: &Session, args: &Args<'_>) -> Result<&'static Command, String> {
    let Some(mut command) = lookup(args[0]) else {
        return Err(error_text::unknown_command(args[0], &args[1..]));
    };
    if let Handler::Container(_) = command.handler
        && let Some(name) = args.get(1)
    {
        command =
            subcommand(command, name).ok_or_else(|| error_text::unknown_subcommand(command.name, name))?;
    }
    let stats = session.shared.stats.command(command.index);
    if !command.accepts(args.len()) {
        stats.rejected.add(1);
        return Err(error_text::wrong_arity(command.full_name));
    }
    if !session.is_authenticated() && !command.flags.contains(Flags::NO_AUTH) {
        stats.rejected.add(1);
        return Err(error_text::NOAUTH.to_owned());
    }
    if session.is_queueing() && command.flags.contains(Flags::NO_MULTI) {
        stats.rejected.add(1);
        return Err(error_text::NO_MULTI.to_owned());
    }
    if session.is_subscriber_only() && !is_for_subscribers(command) {
        stats.rejected.add(1);
        return Err(error_text::subscriber_only(command.full_name));
    }
    if session.refuses_monitor(command.flags) {
        stats.rejected.add(1);
        return Err(error_text::MONITOR_KEYSPACE.to_owned());
    }
    Ok(command)
}

/// What a server that does not own the data says to a command, as Redis does to one that it refuses while it loads.
fn not_owner(session: &Session, command: &Command) -> Option<String> {
    let standing = &session.shared.standing;
    standing.look();
    if standing.is_open() {
        return None;
    }
    let queue = if command.name == "exec" { session.queue() } else { None };
    let needs_topics = !command.flags.contains(Flags::LOADING) || queue.is_some_and(Queue::needs_topics);
    let writes = command.flags.contains(Flags::WRITE) || queue.is_some_and(Queue::writes);
    standing.refusal(needs_topics, writes)
}

/// Whether a client that listens and speaks RESP2 may use a command.
fn is_for_subscribers(command: &Command) -> bool {
    matches!(
        command.full_name,
        "subscribe"
            | "unsubscribe"
            | "psubscribe"
            | "punsubscribe"
            | "ssubscribe"
            | "sunsubscribe"
            | "ping"
            | "quit"
            | "reset"
    )
}

/// Runs the handler.
async fn run(session: &mut Session, command: &'static Command, args: &Args<'_>) -> Result<(), CommandError> {
    session.begin_keys(command, args).await;
    observe::command_begins(session, command, args);
    let begin = Instant::now();
    let result = handle(session, command, args).await;
    session.end_keys();
    count(session, command, args, begin);
    check_reply(session, command, result)
}

/// Executes a command of a transaction; `false` when the connection is to end.
pub(crate) async fn queued(session: &mut Session, command: &'static Command, args: &Args<'_>) -> bool {
    observe::command_begins(session, command, args);
    let begin = Instant::now();
    let result = match command.handler {
        // Appends one behind the other share a commit.
        Handler::Append { fast, .. } => fast(session, args),
        _ => Ok(Append::Slow),
    };
    let result = match result {
        Ok(Append::Pending) => Ok(()),
        // What follows sees, and is answered behind, what was appended before.
        Ok(Append::Slow) => {
            session.settle().await;
            session.begin_queued_command();
            let result = handle(session, command, args).await;
            check_reply(session, command, result)
        }
        Err(error) => {
            session.settle().await;
            session.begin_queued_command();
            Err(error)
        }
    };
    count(session, command, args, begin);
    match result {
        Err(CommandError::Closed) => false,
        result => {
            conclude(session, command, result);
            true
        }
    }
}

async fn handle(
    session: &mut Session,
    command: &'static Command,
    args: &Args<'_>,
) -> Result<(), CommandError> {
    match command.handler {
        Handler::Sync(handler) => handler(session, args),
        Handler::Async(handler) | Handler::Append { slow: handler, .. } => handler(session, args).await,
        // With a second argument the subcommand was looked up.
        Handler::Container(_) => match command.bare {
            Some(handler) => handler(session, args),
            None => Err(CommandError::Arity(command.full_name)),
        },
    }
}

/// Counts a command that began then.
fn count(session: &Session, command: &Command, args: &Args<'_>, begin: Instant) {
    let stats = session.shared.stats.command(command.index);
    stats.calls.add(1);
    // Time that a command spent blocked is not time that it took.
    let took = begin.elapsed().saturating_sub(session.client.take_blocked_time());
    stats.nanos.add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
    session.shared.stats.commands.add(1);
    session.client.totals.commands.add(1);
    observe::command_ends(session, command, args, took);
}

/// The result of a command, or the error that its reply is too large.
fn check_reply(
    session: &Session,
    command: &Command,
    result: Result<(), CommandError>,
) -> Result<(), CommandError> {
    if result.is_ok() && session.is_reply_too_large() {
        let limit = session.reply_limit();
        tracing::warn!(client = session.client.id, command = command.full_name, limit, "reply too large");
        return Err(CommandError::ReplyTooLarge { limit });
    }
    result
}

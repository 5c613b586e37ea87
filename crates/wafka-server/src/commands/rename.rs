//! `RENAME`, `RENAMENX`, `COPY`, `MOVE`: a topic under another name. `SWAPDB`, `DUMP`, `RESTORE`, which there are not.

use wafka_broker::{Placed, Placing};
use wafka_core::{Database, TopicKey};
use wafka_protocol::error_text::{self, generic as text};

use super::arguments::is_word;
use super::connection::database_number;
use super::target::{Target, exists, topic_name};
use crate::command::{Args, CommandError, HandlerFuture};
use crate::notify::{Classes, notify};
use crate::session::Session;

/// A key in its database.
type Key<'a> = (Database, &'a [u8]);

/// ```text
/// RENAME key newkey
/// ```
///
/// Gives a topic another name; a topic that has it is deleted. Takes time by the size of the topic, for the name stands
/// in each of its lines. Whoever reads or writes one of the two waits meanwhile.
pub(crate) fn rename<'a>(session: &'a mut Session, args: &'a Args<'a>) -> HandlerFuture<'a> {
    Box::pin(async move {
        rename_to(session, args, true).await?;
        session.reply().ok();
        Ok(())
    })
}

/// ```text
/// RENAMENX key newkey
/// ```
///
/// As `RENAME`, if no topic has the new name: 1 when it was renamed, else 0.
pub(crate) fn rename_nx<'a>(session: &'a mut Session, args: &'a Args<'a>) -> HandlerFuture<'a> {
    Box::pin(async move {
        let done = rename_to(session, args, false).await?;
        session.reply().integer(i64::from(done));
        Ok(())
    })
}

async fn rename_to(session: &mut Session, args: &Args<'_>, replace: bool) -> Result<bool, CommandError> {
    let database = session.database();
    let (from, to) = ((database, args[1]), (database, args[2]));
    session.begin_alone([from, to].into_iter()).await;
    if Target::find_topic_in(session, database, from.1)?.is_none() {
        return Err(error_text::NO_SUCH_KEY.into());
    }
    if from.1 == to.1 {
        return Ok(false);
    }
    match place(session, from, to, Placing { copy: false, replace }).await? {
        Placed::NoSource => Err(error_text::NO_SUCH_KEY.into()),
        Placed::Taken => Ok(false),
        Placed::Done => {
            tell(session, Classes::GENERIC, "rename_from", from);
            tell(session, Classes::GENERIC, "rename_to", to);
            Ok(true)
        }
    }
}

/// ```text
/// COPY source destination [DB index] [REPLACE]
/// ```
///
/// Makes a topic that has all that another one has: 1 when it was made, 0 when there is nothing to copy or the name is
/// taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct CopyOptions {
    database: Option<Database>,
    replace: bool,
}

/// Reads the options in their order; `database` reads the number of one.
fn parse_copy(
    options: &[&[u8]],
    database: impl Fn(&[u8]) -> Result<Database, CommandError>,
) -> Result<CopyOptions, CommandError> {
    let mut parsed = CopyOptions { database: None, replace: false };
    let mut options = options.iter();
    while let Some(option) = options.next() {
        if is_word(option, "REPLACE") {
            parsed.replace = true;
        } else if is_word(option, "DB") {
            parsed.database = Some(database(options.next().ok_or_else(CommandError::syntax)?)?);
        } else {
            return Err(CommandError::syntax());
        }
    }
    Ok(parsed)
}

/// Executes `COPY`.
pub(crate) fn copy<'a>(session: &'a mut Session, args: &'a Args<'a>) -> HandlerFuture<'a> {
    Box::pin(async move {
        let options = parse_copy(&args[3..], |index| database_number(session, index))?;
        let database = options.database.unwrap_or_else(|| session.database());
        let (from, to) = ((session.database(), args[1]), (database, args[2]));
        if from == to {
            return Err(text::SAME_OBJECT.into());
        }
        session.begin_alone([from, to].into_iter()).await;
        let placing = Placing { copy: true, replace: options.replace };
        let done = place(session, from, to, placing).await? == Placed::Done;
        if done {
            tell(session, Classes::GENERIC, "copy_to", to);
        }
        session.reply().integer(i64::from(done));
        Ok(())
    })
}

/// ```text
/// MOVE key db
/// ```
///
/// Moves a topic to another database: 1 when it was moved, 0 when there is no such topic or the name is taken there.
pub(crate) fn move_to<'a>(session: &'a mut Session, args: &'a Args<'a>) -> HandlerFuture<'a> {
    Box::pin(async move {
        let (from, to) = ((session.database(), args[1]), (database_number(session, args[2])?, args[1]));
        if from == to {
            return Err(text::SAME_OBJECT.into());
        }
        session.begin_alone([from, to].into_iter()).await;
        let placing = Placing { copy: false, replace: false };
        let done = place(session, from, to, placing).await? == Placed::Done;
        if done {
            tell(session, Classes::GENERIC, "move_from", from);
            tell(session, Classes::GENERIC, "move_to", to);
        }
        session.reply().integer(i64::from(done));
        Ok(())
    })
}

/// Has the engine do it. Both keys name whole topics.
async fn place(session: &Session, from: Key<'_>, to: Key<'_>, how: Placing) -> Result<Placed, CommandError> {
    if Target::find_topic_in(session, from.0, from.1)?.is_none() {
        return Ok(Placed::NoSource);
    }
    // An existing topic's partition is no name either.
    Target::find_topic_in(session, to.0, to.1)?;
    let name = topic_name(to.1)?;
    let source = TopicKey::parse(from.1).topic.to_vec();
    let placed = session.blocking(move |engine| engine.place_topic((from.0, &source), (to.0, &name), how));
    let placed = placed.await??;
    if placed == Placed::Done {
        tell(session, Classes::NEW, "new", to);
    }
    Ok(placed)
}

fn tell(session: &Session, class: Classes, event: &str, (database, key): Key<'_>) {
    notify(&session.shared, class, event, database, key);
}

/// ```text
/// DUMP key
/// ```
///
/// Null when there is no such topic; for one that exists, an error.
pub(crate) fn dump(session: &mut Session, args: &Args<'_>) -> Result<(), CommandError> {
    if exists(session.engine(), session.database(), args[1]) {
        return Err(text::NO_DUMP.into());
    }
    session.reply().null();
    Ok(())
}

/// ```text
/// RESTORE key ttl serialized-value [REPLACE] [ABSTTL] [IDLETIME seconds] [FREQ frequency]
/// ```
///
/// Not available.
pub(crate) fn restore(_session: &mut Session, _args: &Args<'_>) -> Result<(), CommandError> {
    Err(text::NO_RESTORE.into())
}

/// ```text
/// SWAPDB index1 index2
/// ```
///
/// Not available.
pub(crate) fn swap_db(_session: &mut Session, _args: &Args<'_>) -> Result<(), CommandError> {
    Err(text::NO_SWAPDB.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_copy() {
        let parsed = |line: &str| {
            let options: Vec<&[u8]> = line.split_whitespace().map(str::as_bytes).collect();
            let number = |index: &[u8]| match index {
                [digit @ b'0'..=b'9'] => Ok(Database(u16::from(digit - b'0'))),
                _ => Err(CommandError::not_integer()),
            };
            let shown = |options: CopyOptions| (options.database, options.replace);
            parse_copy(&options, number).map(shown).map_err(|error| error.to_string())
        };
        assert_eq!(parsed(""), Ok((None, false)));
        assert_eq!(parsed("replace DB 3"), Ok((Some(Database(3)), true)));
        assert_eq!(parsed("DB 1 db 2"), Ok((Some(Database(2)), false)));
        assert_eq!(parsed("DB REPLACE 0"), Err(CommandError::not_integer().to_string()));
        for bad in ["DB", "FOO", "REPLACE DB", "DB 1 2"] {
            assert_eq!(parsed(bad), Err("ERR syntax error".to_owned()), "{bad}");
        }
    }
}

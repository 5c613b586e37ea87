//! `INFO`.

use super::info_sections::{SECTIONS, Section};
use crate::command::{Args, CommandError};
use crate::session::Session;

/// ```text
/// INFO [section [section ...]]
/// ```
///
/// Sections that do not exist are empty, as in Redis. `default` is what is shown without any, `all` and `everything`
/// are all there are.
pub(crate) fn info(session: &mut Session, args: &Args<'_>) -> Result<(), CommandError> {
    let wanted = &args[1..];
    let mut text = String::new();
    for section in SECTIONS.iter().filter(|section| is_wanted(section, wanted)) {
        if !text.is_empty() {
            text.push_str("\r\n");
        }
        text.push_str("# ");
        text.push_str(section.title);
        text.push_str("\r\n");
        (section.write)(&session.shared, &mut text);
    }
    session.reply().verbatim("txt", text.as_bytes());
    Ok(())
}

fn is_wanted(section: &Section, wanted: &Args<'_>) -> bool {
    if wanted.is_empty() {
        return section.by_default;
    }
    wanted.iter().any(|name| {
        let is = |word: &str| name.eq_ignore_ascii_case(word.as_bytes());
        is(section.title) || is("all") || is("everything") || (is("default") && section.by_default)
    })
}

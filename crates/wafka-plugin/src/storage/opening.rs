//! What a plugin says about a log that it opened.

use std::ffi::c_void;

use wafka_core::storage::{Damage, OpenRequest, TornTail};
use wafka_plugin_abi as abi;
use wafka_plugin_abi::Bytes;

use super::lent_cursor;
use crate::text::{borrowed, shown};

/// So many places of damage of one log are kept; what there is beyond is counted.
const DAMAGE_MAX: usize = 10_000;

pub(super) fn lent_request(request: OpenRequest) -> abi::OpenRequest {
    abi::OpenRequest {
        struct_size: size_of::<abi::OpenRequest>() as u32,
        create: u32::from(request.create),
        has_known: u32::from(request.known.is_some()),
        reserved: 0,
        known: lent_cursor(request.known.unwrap_or_default()),
    }
}

/// What a plugin is given to fill in.
pub(super) fn not_opened() -> abi::Opened {
    abi::Opened {
        struct_size: size_of::<abi::Opened>() as u32,
        slot: 0,
        reader: std::ptr::null_mut(),
        first: abi::Cursor::default(),
        end: abi::Cursor::default(),
        torn_position: 0,
        torn_bytes: 0,
        lines: 0,
        knows_lines: 0,
        reserved: 0,
    }
}

/// What is wrong with an opened log.
pub(super) fn checked(opened: &abi::Opened) -> Result<(), String> {
    let (first, end) = (opened.first, opened.end);
    if first.offset > end.offset {
        return Err(format!(
            "it begins at offset {}, expected at most its end, {}",
            first.offset, end.offset
        ));
    }
    let offsets = end.offset - first.offset;
    if let Some(lines) = lines(opened)
        && (lines > offsets || (lines == 0) != (offsets == 0))
    {
        return Err(format!("it has {lines} lines between offset {} and {}", first.offset, end.offset));
    }
    if end.generation == 0 {
        return Err("its positions are of generation 0, expected at least 1".to_owned());
    }
    Ok(())
}

/// How many lines there are, where the plugin knows.
pub(super) fn lines(opened: &abi::Opened) -> Option<u64> {
    (opened.knows_lines == 1).then_some(opened.lines)
}

pub(super) fn torn(opened: &abi::Opened) -> Option<TornTail> {
    let tail = TornTail { position: opened.torn_position, bytes: opened.torn_bytes };
    (tail.bytes > 0).then_some(tail)
}

/// Takes what is damaged in a log.
#[derive(Default)]
pub(super) struct Damages {
    found: Vec<Damage>,
    beyond: u64,
}

impl Damages {
    /// Where the plugin puts it; `self` must stay where it is as long as the sink is used.
    pub(super) fn sink(&mut self) -> abi::DamageSink {
        abi::DamageSink { ctx: std::ptr::from_mut(self).cast(), put: Some(put) }
    }

    pub(super) fn take(mut self) -> Vec<Damage> {
        if let Some(last) = self.found.last_mut().filter(|_| self.beyond > 0) {
            last.reason = format!("{} (and {} further places)", last.reason, self.beyond);
        }
        self.found
    }
}

unsafe extern "C" fn put(ctx: *mut c_void, position: u64, bytes: u64, reason: Bytes) {
    // SAFETY: `ctx` is the `Damages` that `sink` was called on, lent for the call of the plugin that calls this.
    let damages = unsafe { &mut *ctx.cast::<Damages>() };
    if damages.found.len() == DAMAGE_MAX {
        damages.beyond += 1;
        return;
    }
    // SAFETY: the plugin lends the text for this call.
    let reason = shown(unsafe { borrowed(reason) }).into_owned();
    damages.found.push(Damage { position, bytes, reason });
}

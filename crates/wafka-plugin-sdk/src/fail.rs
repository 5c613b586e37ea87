//! Telling the host about failures, and catching panics before they reach it.

use std::any::Any;
use std::cell::RefCell;
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::ptr;

use wafka_plugin_abi::ErrorOut;

thread_local! {
    /// What the last panic of this thread said, and where.
    static LAST_PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Keeps what a panic says, and where it was, for [`catch`].
pub(crate) fn note_panic(info: &PanicHookInfo<'_>) {
    let text = text_of(info.payload());
    let text = match info.location() {
        Some(place) => format!("{text} ({}:{}:{})", place.file(), place.line(), place.column()),
        None => text,
    };
    // Where the thread is about to end, or panics while this is used, the text is that of the payload.
    let _ = LAST_PANIC.try_with(|last| {
        if let Ok(mut last) = last.try_borrow_mut() {
            *last = Some(text);
        }
    });
}

fn text_of(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied();
    text.or_else(|| payload.downcast_ref::<String>().map(String::as_str)).unwrap_or("no text").to_owned()
}

/// Runs what must not unwind any further; a panic becomes its text.
#[inline]
pub(crate) fn catch<R>(what: impl FnOnce() -> R) -> Result<R, String> {
    // Whoever is unwound through here is not used again: its handle is poisoned.
    catch_unwind(AssertUnwindSafe(what)).map_err(caught)
}

#[cold]
fn caught(payload: Box<dyn Any + Send>) -> String {
    let noted = LAST_PANIC.try_with(|last| last.try_borrow_mut().ok()?.take()).ok().flatten();
    let text = noted.unwrap_or_else(|| text_of(&*payload));
    // Dropping what somebody panicked with could panic.
    let _ = ManuallyDrop::new(payload);
    text
}

/// Puts a text into the host's memory, as much of it as fits.
///
/// # Safety
/// `error` is null or the host's.
#[cold]
pub(crate) unsafe fn say(error: *mut ErrorOut, text: &str) {
    // SAFETY: the caller's promise is the same.
    let Some(error) = (unsafe { error.as_mut() }) else { return };
    if error.text.is_null() {
        return;
    }
    let mut len = text.len().min(error.text_capacity);
    while !text.is_char_boundary(len) {
        len -= 1;
    }
    // SAFETY: so many bytes are there on the host's side, which are nobody else's, and on this one.
    unsafe { ptr::copy_nonoverlapping(text.as_ptr(), error.text, len) };
    error.text_len = len;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_its_text() {
        assert_eq!(catch(|| 7), Ok(7));
        assert_eq!(catch(|| -> u8 { panic!("plain") }), Err("plain".to_owned()));
        let number = 3;
        assert_eq!(catch(|| -> u8 { panic!("number {number}") }), Err("number 3".to_owned()));
        assert_eq!(catch(|| -> u8 { std::panic::panic_any(7_u8) }), Err("no text".to_owned()));
    }

    #[test]
    fn what_panics_when_dropped_is_not_dropped() {
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("again");
            }
        }
        assert_eq!(catch(|| -> u8 { std::panic::panic_any(Bomb) }), Err("no text".to_owned()));
    }

    #[test]
    fn a_text_is_cut_between_characters() {
        let mut memory = [0_u8; 4];
        let mut error = ErrorOut {
            struct_size: size_of::<ErrorOut>() as u32,
            os_error: 0,
            value: 0,
            text: memory.as_mut_ptr(),
            text_capacity: 4,
            text_len: 0,
        };
        // SAFETY: the memory is there.
        unsafe { say(&mut error, "ab€") };
        assert_eq!(error.text_len, 2);
        // SAFETY: null is allowed.
        unsafe { say(ptr::null_mut(), "ab") };
        assert_eq!(&memory, b"ab\0\0");
    }
}

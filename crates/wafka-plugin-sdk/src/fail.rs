//! Telling the host about failures, and catching panics before they reach it.

use std::any::Any;
use std::cell::RefCell;
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::ptr;

use wafka_plugin_abi::ErrorOut;
use wafka_plugin_abi::growing::{Growing, read_sized};

thread_local! {
    /// The last panic of this thread.
    static LAST_PANIC: RefCell<Option<Noted>> = const { RefCell::new(None) };
}

/// A panic that the hook saw.
struct Noted {
    text: String,
    place: String,
}

/// Keeps what a panic says, and where it was, for [`catch`].
pub(crate) fn note_panic(info: &PanicHookInfo<'_>) {
    let text = text_of(info.payload());
    let place = info.location();
    let place =
        place.map_or_else(String::new, |at| format!(" ({}:{}:{})", at.file(), at.line(), at.column()));
    note(text, place);
}

fn note(text: String, place: String) {
    // Where the thread is about to end, or panics while this is used, the text is that of the payload.
    let _ = LAST_PANIC.try_with(|last| {
        if let Ok(mut last) = last.try_borrow_mut() {
            *last = Some(Noted { text, place });
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
    let text = text_of(&*payload);
    // The plugin may have caught one that was noted, and this one may have come past the hook, by `resume_unwind`.
    let text = match noted.filter(|noted| noted.text == text) {
        Some(noted) => text + &noted.place,
        None => text,
    };
    // Dropping what somebody panicked with could panic.
    let _ = ManuallyDrop::new(payload);
    text
}

/// What the host gives: as much of it as the host knows.
///
/// # Errors
/// What cannot be, in words.
///
/// # Safety
/// `from` is null or such a struct, of as many bytes as it says.
#[inline]
pub(crate) unsafe fn given<T: Growing>(from: *const T) -> Result<T, String> {
    if from.is_null() {
        return Err(misfit::<T>("null"));
    }
    // SAFETY: not null; the caller's promise.
    unsafe { read_sized(from) }.map_err(|size| misfit::<T>(size))
}

#[cold]
pub(crate) fn misfit<T: Growing>(found: impl std::fmt::Display) -> String {
    format!("the host gave a {}: found size {found}, expected at least {}", T::LAYOUT.c_name, T::SIZE_MIN)
}

/// Puts a text into the host's memory, as much of it as fits.
///
/// # Safety
/// `error` is null or the host's.
#[cold]
pub(crate) unsafe fn say(error: *mut ErrorOut, text: &str) {
    // SAFETY: the caller's promise is the same.
    unsafe { say_all(error, 0, 0, text) }
}

/// As [`say`], with the error's numbers.
///
/// # Safety
/// As [`say`].
#[cold]
pub(crate) unsafe fn say_all(error: *mut ErrorOut, os_error: i32, value: u64, text: &str) {
    // No reference is made: the host's struct may be shorter than the one that this side knows.
    // SAFETY: it begins with its size; the caller's promise.
    if error.is_null() || unsafe { (*error).struct_size } < const { ErrorOut::SIZE_MIN as u32 } {
        return;
    }
    // SAFETY: these are among the first bytes, which are there.
    let (memory, capacity) = unsafe { ((*error).text, (*error).text_capacity) };
    let mut len = if memory.is_null() { 0 } else { text.len().min(capacity) };
    while !text.is_char_boundary(len) {
        len -= 1;
    }
    // SAFETY: as above; and so many bytes are there on the host's side, which are nobody else's, and on this one.
    unsafe {
        (*error).os_error = os_error;
        (*error).value = value;
        if len > 0 {
            ptr::copy_nonoverlapping(text.as_ptr(), memory, len);
        }
        (*error).text_len = len;
    }
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

    /// The first is caught by the plugin itself, the second comes past the hook.
    #[test]
    fn a_panic_is_not_taken_for_an_earlier_one() {
        let panic_after_first = |text: &'static str| {
            catch(|| -> u8 {
                note("first".to_owned(), " (lib.rs:1:2)".to_owned());
                std::panic::resume_unwind(Box::new(text))
            })
        };
        assert_eq!(panic_after_first("second"), Err("second".to_owned()));
        assert_eq!(panic_after_first("first"), Err("first (lib.rs:1:2)".to_owned()));
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
        // One of another ABI is left alone.
        (error.struct_size, error.text_len) = (32, 0);
        // SAFETY: the memory is there.
        unsafe { say(&mut error, "ab") };
        assert_eq!(error.text_len, 0);
    }
}

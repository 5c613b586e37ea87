//! What the host offers to plugins: its log.

use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::ptr;

use log::{Level, Metadata, Record};
use tracing::dispatcher;
use tracing::level_filters::LevelFilter;
use tracing_log::{AsTrace, format_trace};
use wafka_plugin_abi::{ABI_MAJOR, ABI_MINOR, Bytes, Host, level};

use crate::text::{borrowed, shown};

/// The target of what a plugin logs without saying which part of it speaks.
const DEFAULT_TARGET: &str = "wafka_plugin";

/// Where the functions of a [`Host`] find for whom they are called.
struct Context {
    file: PathBuf,
}

/// Makes the host for one plugin. It lives for ever, as the plugin's code does.
pub(crate) fn host_for(file: PathBuf) -> &'static Host {
    let context: &'static Context = Box::leak(Box::new(Context { file }));
    Box::leak(Box::new(Host {
        struct_size: const { size_of::<Host>() as u32 },
        abi_major: ABI_MAJOR,
        abi_minor: ABI_MINOR,
        ctx: ptr::from_ref(context).cast_mut().cast(),
        log: Some(log),
        log_enabled: Some(log_enabled),
    }))
}

fn level_of(level: u32) -> Level {
    match level {
        level::ERROR => Level::Error,
        level::WARN => Level::Warn,
        level::INFO => Level::Info,
        level::DEBUG => Level::Debug,
        _ => Level::Trace,
    }
}

fn is_enabled(level: Level, target: &str) -> bool {
    if level.as_trace() > LevelFilter::current() {
        return false;
    }
    let metadata = Metadata::builder().level(level).target(target).build();
    dispatcher::get_default(|dispatch| dispatch.enabled(&metadata.as_trace()))
}

/// Runs what must not unwind into the plugin.
fn guarded<R: Default>(what: impl FnOnce() -> R) -> R {
    catch_unwind(AssertUnwindSafe(what)).unwrap_or_default()
}

/// The target as the log's filter knows it.
///
/// # Safety
/// As [`Bytes::get`].
unsafe fn target_of<'a>(target: Bytes) -> std::borrow::Cow<'a, str> {
    // SAFETY: the caller's promise is the same.
    let target = unsafe { borrowed(target) };
    if target.is_empty() { DEFAULT_TARGET.into() } else { shown(target) }
}

/// # Safety
/// `ctx` is that of the [`Host`], and the bytes are there until this returns: both are the plugin's promise.
unsafe extern "C" fn log(ctx: *mut c_void, level: u32, target: Bytes, text: Bytes) {
    guarded(|| {
        // SAFETY: as promised by the caller.
        let (target, text) = unsafe { (target_of(target), borrowed(text)) };
        let level = level_of(level);
        if !is_enabled(level, &target) {
            return;
        }
        // SAFETY: `host_for` put a `Context` there, which lives for ever; a plugin that passes another breaks its promise.
        let context = unsafe { ctx.cast::<Context>().as_ref() };
        let file = context.and_then(|context| context.file.file_name()).unwrap_or_default();
        let text = shown(text);
        let line = format_args!("{text} plugin={}", file.display());
        // It cannot fail: the result is for the `log` crate's sake.
        let _ = format_trace(&Record::builder().level(level).target(&target).args(line).build());
    });
}

/// # Safety
/// As [`log`].
unsafe extern "C" fn log_enabled(_ctx: *mut c_void, level: u32, target: Bytes) -> u32 {
    guarded(|| {
        // SAFETY: as promised by the caller.
        let target = unsafe { target_of(target) };
        u32::from(is_enabled(level_of(level), &target))
    })
}

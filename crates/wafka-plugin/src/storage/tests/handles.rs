//! Every handle is released once, whatever became of what it stood for.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use wafka_core::storage::RewritePlan;
use wafka_plugin_abi::status;

use super::*;

/// The handles that there are, by kind, each with the one that it was made with. One test uses it, with one storage at a time.
static HANDLES: Mutex<BTreeMap<&'static str, Vec<(usize, usize)>>> = Mutex::new(BTreeMap::new());

fn handles() -> MutexGuard<'static, BTreeMap<&'static str, Vec<(usize, usize)>>> {
    HANDLES.lock().unwrap_or_else(PoisonError::into_inner)
}

fn made(kind: &'static str, handle: *mut c_void, with: *const c_void) {
    handles().entry(kind).or_default().push((handle as usize, with as usize));
}

fn released(kind: &'static str, handle: *mut c_void) {
    let mut handles = handles();
    let of_kind = handles.entry(kind).or_default();
    let at = of_kind.iter().position(|made| made.0 == handle as usize);
    // The plugin would be asked to free it twice.
    of_kind.remove(at.expect("a handle is released once"));
    // Beside it other shards may have theirs.
    let (children, all) = match kind {
        "storage" => (&["shard", "reader", "pending", "rewrite"][..], true),
        "shard" => (&["pending", "rewrite"][..], false),
        _ => (&[][..], false),
    };
    for child in children {
        let mut left = handles.get(child).into_iter().flatten();
        let is_left = left.any(|(_, with)| all || *with == handle as usize);
        assert!(!is_left, "a {kind} goes before its {child}");
    }
}

macro_rules! counted {
    (make $name:ident($with:ident: $of:ty $(, $argument:ident: $type:ty)*), $kind:literal, $place:ident) => {
        unsafe extern "C" fn $name($with: $of $(, $argument: $type)*) -> u32 {
            let Some(function) = functions().$name else { return status::FAILED };
            // SAFETY: the arguments are the host's.
            let result = unsafe { function($with $(, $argument)*) };
            if result == status::OK {
                // SAFETY: the place of the handle is the host's.
                made($kind, unsafe { *$place }, $with as *const c_void);
            }
            result
        }
    };
    (release $name:ident($handle:ident $(, $argument:ident: $type:ty)*) $(-> $result:ty)?, $kind:literal) => {
        unsafe extern "C" fn $name($handle: *mut c_void $(, $argument: $type)*) $(-> $result)? {
            released($kind, $handle);
            let function = functions().$name.expect("every function is there");
            // SAFETY: the arguments are the host's.
            unsafe { function($handle $(, $argument)*) }
        }
    };
}

type Out = *mut *mut c_void;
type Error = *mut ErrorOut;

counted!(make open(config: *const StorageConfig, out: Out, error: Error), "storage", out);
counted!(make shard(storage: *mut c_void, broker: u32, out: Out, error: Error), "shard", out);
counted!(make begin_sync(shard: *mut c_void, out: Out, error: Error), "pending", out);
counted!(
    make begin_rewrite(
        shard: *mut c_void, slot: u32, plan: *const abi::RewritePlan, out: Out, error: Error
    ), "rewrite", out
);
counted!(release close(storage), "storage");
counted!(release shard_close(shard), "shard");
counted!(release reader_release(reader), "reader");
counted!(release rewrite_abandon(rewrite), "rewrite");
counted!(release sync_wait(pending, failures: *const abi::FailureSink, error: Error) -> u32, "pending");

unsafe extern "C" fn log_open(
    shard: *mut c_void,
    name: *const abi::LogName,
    request: *const abi::OpenRequest,
    opened: *mut abi::Opened,
    damage: *const abi::DamageSink,
    error: Error,
) -> u32 {
    let Some(function) = functions().log_open else { return status::FAILED };
    // SAFETY: the arguments are the host's.
    let result = unsafe { function(shard, name, request, opened, damage, error) };
    if result == status::OK {
        // SAFETY: the result's place is the host's.
        made("reader", unsafe { (*opened).reader }, shard);
    }
    result
}

unsafe extern "C" fn finish_rewrite(
    shard: *mut c_void,
    rewrite: *mut c_void,
    kept: *const abi::KeptSink,
    rewritten: *mut abi::Rewritten,
    error: Error,
) -> u32 {
    released("rewrite", rewrite);
    let Some(function) = functions().finish_rewrite else { return status::FAILED };
    // SAFETY: the arguments are the host's.
    unsafe { function(shard, rewrite, kept, rewritten, error) }
}

fn counting() -> StorageVtable {
    StorageVtable {
        open: Some(open),
        close: Some(close),
        shard: Some(shard),
        shard_close: Some(shard_close),
        log_open: Some(log_open),
        reader_release: Some(reader_release),
        begin_sync: Some(begin_sync),
        sync_wait: Some(sync_wait),
        begin_rewrite: Some(begin_rewrite),
        finish_rewrite: Some(finish_rewrite),
        rewrite_abandon: Some(rewrite_abandon),
        ..functions()
    }
}

#[test]
fn each_handle_is_released_once() {
    conformance::run(&mut || Box::new(Scripted(opened_with(counting(), &[]))));
    for fault in [
        "panic-append:a-1",
        "panic-rewrite_run:a-1",
        "panic-finish_rewrite:a-1",
        "panic-sync_wait:*",
        "panic-begin_sync:*",
        "panic-read:a-1",
        "panic-log_close:a-1",
        "first-behind-end:a-1",
        "slot-twice:b-1",
        "keeps-twice:a-1",
        "wrong-end:a-1",
        "unknown-slot:*",
    ] {
        let storage = opened_with(counting(), &[fault]);
        let mut shard = storage.shard(BrokerId(1)).unwrap();
        let mut readers = Vec::new();
        let mut rewrites = Vec::new();
        for name in ["a-1", "b-1"] {
            let Ok(opened) = shard.open(&log(name), CREATE) else { continue };
            let _may_fail = append(&mut *shard, opened.slot, 0, 5);
            let _may_fail = read(&*opened.reader, 0);
            for finish in [true, false] {
                let Ok(mut rewrite) = shard.begin_rewrite(opened.slot, RewritePlan::default()) else {
                    continue;
                };
                let _may_fail = rewrite.run(&mut |_| {});
                if finish {
                    let _may_fail = shard.finish_rewrite(rewrite, &mut |_| {});
                } else {
                    rewrites.push(rewrite);
                }
            }
            readers.push(opened.reader);
            shard.close(opened.slot);
        }
        let _may_fail = sync(&mut *shard);
        let pending = shard.begin_sync();
        // In the wrong order: what belongs to another is kept as long as it is needed.
        drop((storage, shard));
        drop(readers);
        drop(rewrites);
        drop(pending);
        let left: Vec<_> =
            handles().iter().filter(|(_, left)| !left.is_empty()).map(|(kind, _)| *kind).collect();
        assert_eq!(left, [""; 0], "{fault}: not released");
    }
}

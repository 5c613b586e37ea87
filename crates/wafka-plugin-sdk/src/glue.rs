//! A [`Partitioner`] as the functions of the ABI.

use std::ffi::c_void;

use wafka_plugin_abi::{ErrorOut, PartitionerConfig, PartitionerVtable, RouteRequest, route, status};

use crate::fail::{catch, given, say};
use crate::options;
use crate::{Event, Partitioner, Route, Topic};

/// What a handle points to.
struct Instance<P> {
    strategy: P,
    /// It panicked: its state may be anything.
    is_poisoned: bool,
}

/// Why no strategy is made.
enum Refusal {
    /// The author's, or serde's.
    Options(crate::OptionsError),
    /// What the host gave cannot be.
    Host(String),
}

impl From<crate::OptionsError> for Refusal {
    fn from(error: crate::OptionsError) -> Self {
        Refusal::Options(error)
    }
}

impl From<String> for Refusal {
    fn from(text: String) -> Self {
        Refusal::Host(text)
    }
}

/// The functions for a strategy.
#[doc(hidden)]
#[must_use]
pub const fn partitioner_vtable<P: Partitioner>(route_version: u32) -> PartitionerVtable {
    PartitionerVtable {
        struct_size: size_of::<PartitionerVtable>() as u32,
        route_version,
        create: Some(create::<P>),
        route: Some(route::<P>),
        destroy: Some(destroy::<P>),
    }
}

/// # Safety
/// The arguments are those of the ABI, there during the call.
unsafe extern "C" fn create<P: Partitioner>(
    config: *const PartitionerConfig,
    instance: *mut *mut c_void,
    error: *mut ErrorOut,
) -> u32 {
    let made = catch(|| {
        // SAFETY: the host's promise: all of it is there during the call.
        let (config, topic, json) = unsafe {
            let config = given(config)?;
            (config, config.topic.get(), config.options.get())
        };
        let (Some(topic), Some(json), false) = (topic, json, instance.is_null()) else {
            return Err(Refusal::Host("the host gave a null pointer".to_owned()));
        };
        let partitions = u16::try_from(config.partitions).ok().filter(|partitions| *partitions > 0);
        let Some(partitions) = partitions else {
            let found = config.partitions;
            let text = format!("the host says that the topic has {found} partitions, expected 1 to 65535");
            return Err(Refusal::Host(text));
        };
        let strategy = P::new(options::parse(json)?, &Topic::new(topic, partitions))?;
        Ok(Box::into_raw(Box::new(Instance { strategy, is_poisoned: false })))
    });
    let (status, text) = match made {
        Ok(Ok(made)) => {
            // SAFETY: not null; the host's promise.
            unsafe { instance.write(made.cast()) };
            return status::OK;
        }
        Ok(Err(Refusal::Options(error))) => {
            (status::BAD_OPTION, format!("{}\0{}", error.option(), error.expected()))
        }
        Ok(Err(Refusal::Host(text))) => (status::FAILED, text),
        Err(panic) => (status::PANICKED, panic),
    };
    // SAFETY: the host's promise.
    unsafe { say(error, &text) };
    status
}

/// # Safety
/// As [`create`]; the instance is one that `create` made and nobody has destroyed, and is used by nobody else now.
unsafe extern "C" fn route<P: Partitioner>(
    instance: *mut c_void,
    request: *const RouteRequest,
    error: *mut ErrorOut,
) -> i32 {
    // SAFETY: the host's promise.
    let (instance, request) = unsafe { (instance.cast::<Instance<P>>().as_mut(), given(request)) };
    let request = match request {
        Ok(request) => request,
        // SAFETY: the host's promise.
        Err(why) => return unsafe { fail(&why.into(), error) },
    };
    let Some(instance) = instance else {
        // SAFETY: the host's promise.
        return unsafe { fail(&"the host gave a null pointer for the strategy".into(), error) };
    };
    if instance.is_poisoned {
        // SAFETY: the host's promise.
        unsafe { say(error, "the strategy panicked before") };
        return route::PANICKED;
    }
    // SAFETY: the host's promise: all of it is there during the call.
    let Some(event) = (unsafe { Event::from_raw(&request) }) else {
        // SAFETY: the host's promise.
        return unsafe { fail(&impossible(&request), error) };
    };
    let strategy = &mut instance.strategy;
    let answer = catch(|| match strategy.route(&event) {
        Ok(Route::Partition(index)) => i32::from(index),
        Ok(Route::Any) => route::ANY,
        Ok(Route::Unkeyed) => route::UNKEYED,
        // SAFETY: the host's promise.
        Err(failure) => unsafe { fail(&failure, error) },
    });
    answer.unwrap_or_else(|panic| {
        instance.is_poisoned = true;
        // SAFETY: the host's promise.
        unsafe { say(error, &panic) };
        route::PANICKED
    })
}

/// What is wrong with an event that cannot be.
#[cold]
fn impossible(request: &RouteRequest) -> crate::Error {
    let (partitions, count) = (request.partitions, request.field_count);
    crate::Error::new(format!(
        "the host gave an event that cannot be: found {partitions} partitions, {count} fields at {:p} and a topic at {:p}, \
         expected 1 to 65535 partitions and no null pointers",
        request.fields, request.topic.ptr
    ))
}

/// # Safety
/// As [`say`].
#[cold]
unsafe fn fail(failure: &crate::Error, error: *mut ErrorOut) -> i32 {
    // SAFETY: the caller's promise is the same.
    unsafe { say(error, &failure.to_string()) };
    route::FAILED
}

/// # Safety
/// As [`route`]; the instance is not used afterwards.
unsafe extern "C" fn destroy<P: Partitioner>(instance: *mut c_void) {
    if instance.is_null() {
        return;
    }
    // SAFETY: `create` made it with a box, and nobody uses it after this.
    let instance = unsafe { Box::from_raw(instance.cast::<Instance<P>>()) };
    if let Err(panic) = catch(|| drop(instance)) {
        log::error!("a strategy panicked while it was destroyed: {panic}");
    }
}

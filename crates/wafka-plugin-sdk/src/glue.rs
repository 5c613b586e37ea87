//! A [`Partitioner`] as the functions of the ABI.

use std::ffi::c_void;

use wafka_plugin_abi::{
    ErrorOut, PARTITIONER_VTABLE_SIZE_MIN, PartitionerConfig, PartitionerVtable, RouteRequest, route, status,
};

use crate::fail::{catch, say};
use crate::options;
use crate::{Event, Partitioner, Route, Topic};

/// What a handle points to.
struct Instance<P> {
    strategy: P,
    /// It panicked: its state may be anything.
    is_poisoned: bool,
}

/// The functions for a strategy.
#[doc(hidden)]
#[must_use]
pub const fn partitioner_vtable<P: Partitioner>(route_version: u32) -> PartitionerVtable {
    const { assert!(size_of::<PartitionerVtable>() >= PARTITIONER_VTABLE_SIZE_MIN) };
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
    // SAFETY: the host's promise.
    let (config, instance) = unsafe { (config.as_ref(), instance.as_mut()) };
    let (Some(config), Some(instance)) = (config, instance) else { return status::FAILED };
    // SAFETY: the host's promise.
    let (topic, json) = unsafe { (config.topic.get(), config.options.get()) };
    let made = catch(|| {
        let partitions = u16::try_from(config.partitions).unwrap_or(u16::MAX);
        let topic = Topic::new(topic.unwrap_or_default(), partitions);
        let strategy = P::new(options::parse(json.unwrap_or_default())?, &topic)?;
        Ok(Box::into_raw(Box::new(Instance { strategy, is_poisoned: false })))
    });
    let (status, text) = match made {
        Ok(Ok(made)) => {
            *instance = made.cast();
            return status::OK;
        }
        Ok(Err(error)) => {
            let error: crate::OptionsError = error;
            (status::BAD_OPTION, format!("{}\0{}", error.option(), error.expected()))
        }
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
    let (instance, request) = unsafe { (instance.cast::<Instance<P>>().as_mut(), request.as_ref()) };
    let (Some(instance), Some(request)) = (instance, request) else { return route::FAILED };
    if instance.is_poisoned {
        // SAFETY: the host's promise.
        unsafe { say(error, "the strategy panicked before") };
        return route::PANICKED;
    }
    // SAFETY: the host's promise: all of it is there during the call.
    let Some(event) = (unsafe { Event::from_raw(request) }) else { return route::FAILED };
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

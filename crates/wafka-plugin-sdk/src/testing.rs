//! Testing a strategy without a server: it goes the whole way that the server's calls go, through the exported functions.
//!
//! ```
//! # use wafka_plugin_sdk::{Error, Event, OptionsError, Partitioner, Route, Topic};
//! # #[derive(serde::Deserialize)]
//! # struct Nothing {}
//! # struct First;
//! # impl Partitioner for First {
//! #   type Options = Nothing;
//! #   fn new(_: Nothing, _: &Topic<'_>) -> Result<Self, OptionsError> { Ok(First) }
//! #   fn route(&mut self, _: &Event<'_>) -> Result<Route, Error> { Ok(Route::Partition(0)) }
//! # }
//! use wafka_plugin_sdk::testing::strategy;
//!
//! let mut first = strategy::<First>("{}", 12).unwrap();
//! assert_eq!(first.route(&[("truck", "7")]), Ok(Route::Partition(0)));
//! ```

use std::ffi::c_void;
use std::marker::PhantomData;
use std::ptr;

use wafka_plugin_abi::{Bytes, ErrorOut, PartitionerConfig, PartitionerVtable, RouteRequest, route, status};

use crate::glue::partitioner_vtable;
use crate::{Error, Field, OptionsError, Partitioner, Route};

/// The topic that strategies are made for here.
const TOPIC: &[u8] = b"deliveries";

/// A strategy behind its exported functions, for the topic `deliveries`.
pub struct Strategy<P> {
    functions: PartitionerVtable,
    instance: *mut c_void,
    partitions: u16,
    of: PhantomData<P>,
}

fn error_out(text: &mut [u8]) -> ErrorOut {
    ErrorOut {
        struct_size: size_of::<ErrorOut>() as u32,
        os_error: 0,
        value: 0,
        text: text.as_mut_ptr(),
        text_capacity: text.len(),
        text_len: 0,
    }
}

fn said(error: &ErrorOut, text: &[u8]) -> String {
    String::from_utf8_lossy(&text[..error.text_len.min(text.len())]).into_owned()
}

/// What stands for the option where [`strategy`] fails with a panic.
pub const PANICKED: &str = "(panic)";

/// What stands for the option where [`strategy`] fails for another reason than an option.
pub const FAILED: &str = "(failed)";

/// Makes a strategy with options as JSON, for a topic of so many partitions.
///
/// # Errors
/// When the options are refused; when the strategy panics, then with [`PANICKED`] for an option; and with [`FAILED`] when there
/// are no partitions.
pub fn strategy<P: Partitioner>(options: &str, partitions: u16) -> Result<Strategy<P>, OptionsError> {
    let functions = partitioner_vtable::<P>(0);
    let config = PartitionerConfig {
        struct_size: size_of::<PartitionerConfig>() as u32,
        partitions: u32::from(partitions),
        topic: Bytes::new(TOPIC),
        options: Bytes::new(options.as_bytes()),
    };
    let mut text = [0; 1024];
    let mut error = error_out(&mut text);
    let mut instance = ptr::null_mut();
    // SAFETY: the arguments are there during the call, and are what the ABI says they are.
    let status = functions.create.map(|create| unsafe { create(&config, &mut instance, &mut error) });
    if status == Some(status::OK) {
        return Ok(Strategy { functions, instance, partitions, of: PhantomData });
    }
    let said = said(&error, &text);
    Err(match said.split_once('\0') {
        Some((option, expected)) if status == Some(status::BAD_OPTION) => OptionsError::new(option, expected),
        _ if status == Some(status::PANICKED) => OptionsError::new(PANICKED, said),
        _ => OptionsError::new(FAILED, said),
    })
}

impl<P: Partitioner> Strategy<P> {
    /// Where an event with these fields goes.
    ///
    /// # Errors
    /// When the strategy fails or panics.
    pub fn route<N: AsRef<[u8]>, V: AsRef<[u8]>>(&mut self, fields: &[(N, V)]) -> Result<Route, Error> {
        self.route_with_open(fields, None)
    }

    /// Where an event with these fields goes while that partition's batch is open: see
    /// [`Event::open_partition`](crate::Event::open_partition).
    ///
    /// # Errors
    /// When the strategy fails or panics.
    pub fn route_with_open<N: AsRef<[u8]>, V: AsRef<[u8]>>(
        &mut self,
        fields: &[(N, V)],
        open_partition: Option<u16>,
    ) -> Result<Route, Error> {
        let fields: Vec<Field<'_>> =
            fields.iter().map(|(name, value)| Field::new(name.as_ref(), value.as_ref())).collect();
        let request = RouteRequest {
            struct_size: size_of::<RouteRequest>() as u32,
            partitions: u32::from(self.partitions),
            topic: Bytes::new(TOPIC),
            fields: fields.as_ptr().cast(),
            field_count: fields.len(),
            open_partition: open_partition.map_or(-1, i32::from),
            reserved: 0,
        };
        let mut text = [0; 1024];
        let mut error = error_out(&mut text);
        let route = self.functions.route;
        // SAFETY: the instance is the one that was made, used by nobody else; the arguments are there during the call.
        let answer = route.map(|route| unsafe { route(self.instance, &request, &mut error) });
        match answer {
            Some(route::ANY) => Ok(Route::Any),
            Some(route::UNKEYED) => Ok(Route::Unkeyed),
            Some(answer) => match u16::try_from(answer) {
                Ok(index) if index < self.partitions => Ok(Route::Partition(index)),
                Ok(index) => Err(Error::new(format!("index {index} of {} partitions", self.partitions))),
                Err(_) => Err(Error::new(said(&error, &text))),
            },
            None => Err(Error::new("no function")),
        }
    }
}

impl<P> Drop for Strategy<P> {
    fn drop(&mut self) {
        if let Some(destroy) = self.functions.destroy {
            // SAFETY: the instance is the one that was made, and is used no more.
            unsafe { destroy(self.instance) };
        }
    }
}

#[cfg(test)]
mod tests;

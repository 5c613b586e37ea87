//! Partitioning strategies.

use std::marker::PhantomData;
use std::slice;

use serde::de::DeserializeOwned;
use thiserror::Error;
use wafka_core::partitioner::Route;
use wafka_plugin_abi as abi;
use wafka_plugin_abi::Bytes;

use crate::options::OptionsError;

/// A partitioning strategy at work for one topic. The crate's page is its tutorial.
pub trait Partitioner: Send + Sized + 'static {
    /// What the topic's table says. With `#[serde(deny_unknown_fields)]`, a key that is not one of its fields is refused.
    type Options: DeserializeOwned;

    /// Makes the strategy for one topic.
    ///
    /// # Errors
    /// When an option has a bad value, or does not fit the topic.
    fn new(options: Self::Options, topic: &Topic<'_>) -> Result<Self, OptionsError>;

    /// Chooses the partition. It is called for every event of the topic, in the order of their ids, while the topic
    /// waits.
    ///
    /// # Errors
    /// When the event cannot be routed; its `XADD` is answered with the error, and nothing is appended.
    fn route(&mut self, event: &Event<'_>) -> Result<Route, Error>;
}

/// Why a strategy could not route an event.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("{0}")]
pub struct Error(String);

impl Error {
    /// The reason, as people shall read it.
    #[must_use]
    pub fn new(reason: impl Into<String>) -> Self {
        Error(reason.into())
    }
}

impl From<String> for Error {
    fn from(reason: String) -> Self {
        Error(reason)
    }
}

impl From<&str> for Error {
    fn from(reason: &str) -> Self {
        Error(reason.to_owned())
    }
}

/// The topic that a strategy is made for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Topic<'a> {
    name: &'a [u8],
    partitions: u16,
}

impl<'a> Topic<'a> {
    /// A topic of that name with so many partitions, at least 1: 0 counts as 1.
    #[must_use]
    pub fn new(name: &'a [u8], partitions: u16) -> Self {
        Topic { name, partitions: partitions.max(1) }
    }

    /// Its name: any bytes.
    #[inline]
    #[must_use]
    pub fn name(&self) -> &'a [u8] {
        self.name
    }

    /// How many partitions it has, at least 1. The number never changes during a topic's life.
    #[inline]
    #[must_use]
    pub fn partitions(&self) -> u16 {
        self.partitions
    }
}

/// A field of an event, and its value.
#[repr(transparent)]
#[derive(Clone, Copy)]
pub struct Field<'a> {
    raw: abi::Field,
    lent: PhantomData<&'a [u8]>,
}

// A slice of the one is used as a slice of the other.
const _: () = assert!(size_of::<Field<'_>>() == size_of::<abi::Field>());

impl<'a> Field<'a> {
    /// A field and its value.
    #[must_use]
    pub fn new(name: &'a [u8], value: &'a [u8]) -> Self {
        Field { raw: abi::Field { name: Bytes::new(name), value: Bytes::new(value) }, lent: PhantomData }
    }

    /// The field's name: any bytes.
    #[inline]
    #[must_use]
    pub fn name(&self) -> &'a [u8] {
        // SAFETY: lent for 'a, to `new` by the compiler's word and otherwise by the host's.
        unsafe { self.raw.name.get() }.unwrap_or_default()
    }

    /// Its value: any bytes.
    #[inline]
    #[must_use]
    pub fn value(&self) -> &'a [u8] {
        // SAFETY: as in `name`.
        unsafe { self.raw.value.get() }.unwrap_or_default()
    }
}

impl std::fmt::Debug for Field<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}={}", self.name().escape_ascii(), self.value().escape_ascii())
    }
}

/// An event to be routed.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    topic: &'a [u8],
    fields: &'a [Field<'a>],
    partitions: u16,
    open_partition: Option<u16>,
}

impl<'a> Event<'a> {
    /// An event of `topic` with these fields.
    #[must_use]
    pub fn new(topic: Topic<'a>, fields: &'a [Field<'a>]) -> Self {
        Event { topic: topic.name, fields, partitions: topic.partitions, open_partition: None }
    }

    /// The same event, while that partition's batch is open: see [`Event::open_partition`].
    #[must_use]
    pub fn with_open_partition(self, open_partition: Option<u16>) -> Self {
        Event { open_partition, ..self }
    }

    /// The event as the host tells it; `None` when it tells what cannot be.
    ///
    /// # Safety
    /// The request and what it points to is there for `'a`.
    #[inline]
    pub(crate) unsafe fn from_raw(request: &'a abi::RouteRequest) -> Option<Self> {
        let fields = if request.field_count == 0 {
            &[]
        } else if request.fields.is_null() {
            return None;
        } else {
            // SAFETY: the host's promise; `Field` is nothing but the raw one.
            unsafe { slice::from_raw_parts(request.fields.cast::<Field<'a>>(), request.field_count) }
        };
        Some(Event {
            // SAFETY: the caller's promise is the same.
            topic: unsafe { request.topic.get() }?,
            fields,
            partitions: u16::try_from(request.partitions).ok().filter(|partitions| *partitions > 0)?,
            open_partition: u16::try_from(request.open_partition).ok(),
        })
    }

    /// The topic's name: any bytes.
    #[inline]
    #[must_use]
    pub fn topic(&self) -> &'a [u8] {
        self.topic
    }

    /// How many partitions the topic has, at least 1: as told to [`Partitioner::new`].
    #[inline]
    #[must_use]
    pub fn partitions(&self) -> u16 {
        self.partitions
    }

    /// The event's fields in the producer's order; names may repeat.
    #[inline]
    #[must_use]
    pub fn fields(&self) -> &'a [Field<'a>] {
        self.fields
    }

    /// The value of the first field called `name`.
    #[inline]
    #[must_use]
    pub fn get(&self, name: &[u8]) -> Option<&'a [u8]> {
        self.fields.iter().find(|field| field.name() == name).map(Field::value)
    }

    /// The 0-based index of the partition that the topic's last event without a preference ([`Route::Any`],
    /// [`Route::Unkeyed`]) went to, while the batch it went into is open: what goes there now is committed with it. `None`
    /// when its broker has taken that batch, when the batch is full, when the partition failed, and before there was any.
    #[inline]
    #[must_use]
    pub fn open_partition(&self) -> Option<u16> {
        self.open_partition
    }
}

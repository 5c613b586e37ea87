//! Strategies behind the ABI.

mod watchdog;

use std::ffi::c_void;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use wafka_core::partitioner::{
    CreateRequest, Partitioner, PartitionerError, PartitionerFactory, Route, RouteRequest, RouteWatch,
};
use wafka_plugin_abi as abi;
use wafka_plugin_abi::{Bytes, Field, PartitionerConfig, route, status};

use crate::failure::{Failure, TEXT_MAX, TextBuffer, error_out};
use crate::load::PluginInfo;
use crate::manifest::PartitionerFunctions;
use watchdog::{Call, Function, Watchdog};

/// So many fields stay reserved for the next event, of 32 bytes each; more are given back, so that one giant event
/// does not cost memory for ever. An event of more fields is rare, and costs two allocations.
const FIELDS_KEPT: usize = 4096;

/// Makes instances of a plugin's strategy.
pub(crate) struct Factory {
    plugin: Arc<PluginInfo>,
    functions: PartitionerFunctions,
    slow_calls: Arc<AtomicU64>,
    panics: Arc<AtomicU64>,
    watchdog: &'static Watchdog,
}

impl Factory {
    pub(crate) fn new(plugin: Arc<PluginInfo>, functions: PartitionerFunctions) -> Self {
        let (slow_calls, panics) = (Arc::default(), Arc::default());
        Factory { plugin, functions, slow_calls, panics, watchdog: Watchdog::running() }
    }

    /// How many calls of `route` took so long that it was noticed.
    pub(crate) fn slow_calls(&self) -> u64 {
        self.slow_calls.load(Ordering::Relaxed)
    }

    /// How often it panicked while a strategy was made or routed.
    pub(crate) fn panics(&self) -> u64 {
        self.panics.load(Ordering::Relaxed)
    }

    fn failed(&self, reason: impl std::fmt::Display) -> PartitionerError {
        failed(&self.plugin, reason)
    }
}

/// A failure that names the plugin's file.
fn failed(plugin: &PluginInfo, reason: impl std::fmt::Display) -> PartitionerError {
    PartitionerError::Failed { partitioner: plugin.name.clone(), reason: in_file(plugin, reason) }
}

/// A panic, likewise.
fn panicked(plugin: &PluginInfo, reason: impl std::fmt::Display) -> PartitionerError {
    PartitionerError::Panicked { partitioner: plugin.name.clone(), reason: in_file(plugin, reason) }
}

fn in_file(plugin: &PluginInfo, reason: impl std::fmt::Display) -> String {
    format!("plugin {}: {reason}", plugin.file.display())
}

impl PartitionerFactory for Factory {
    fn name(&self) -> &str {
        &self.plugin.name
    }

    fn version(&self) -> u32 {
        self.functions.route_version
    }

    fn create(&self, request: &CreateRequest<'_>) -> Result<Box<dyn Partitioner>, PartitionerError> {
        let options = serde_json::to_vec(request.options).map_err(|error| self.failed(error))?;
        let config = PartitionerConfig {
            struct_size: const { size_of::<PartitionerConfig>() as u32 },
            partitions: u32::from(request.partitions),
            topic: Bytes::new(request.topic),
            options: Bytes::new(&options),
        };
        let slow = Arc::clone(&self.slow_calls);
        let call = Arc::new(Call::new(Arc::clone(&self.plugin), request.topic, slow));
        self.watchdog.watch(&call);
        let mut text = Box::new([0; TEXT_MAX]);
        let mut error = error_out(&mut text);
        let mut instance = ptr::null_mut();
        call.set_function(Function::Create);
        call.begin();
        // SAFETY: the arguments live longer than the call, and are what the ABI says they are.
        let status = unsafe { (self.functions.create)(&config, &mut instance, &mut error) };
        call.end();
        if status != status::OK {
            let failure = Failure::take(status, &error, &text);
            if status == status::PANICKED {
                self.panics.fetch_add(1, Ordering::Relaxed);
            }
            return Err(match failure.option() {
                Some((option, expected)) if status == status::BAD_OPTION => {
                    PartitionerError::BadOption { partitioner: self.plugin.name.clone(), option, expected }
                }
                _ => self.failed(format_args!("cannot make the strategy: {}", failure.to_line())),
            });
        }
        call.set_function(Function::Route);
        let plugin = Arc::clone(&self.plugin);
        let (functions, panics) = (self.functions, Arc::clone(&self.panics));
        let fields = Vec::new();
        Ok(Box::new(Instance { plugin, functions, instance, fields, text, call, panics, panicked: None }))
    }
}

/// A strategy at work for one topic.
struct Instance {
    plugin: Arc<PluginInfo>,
    functions: PartitionerFunctions,
    instance: *mut c_void,
    /// The event's fields as the ABI has them. What they point to is there during a call only.
    fields: Vec<Field>,
    text: Box<TextBuffer>,
    call: Arc<Call>,
    panics: Arc<AtomicU64>,
    /// What the strategy panicked with: its state may be anything now.
    panicked: Option<String>,
}

// SAFETY: the ABI says that an instance is used by one thread at a time, each time perhaps another. The pointers in `fields`
// are never followed between calls.
unsafe impl Send for Instance {}

impl Partitioner for Instance {
    fn route(&mut self, request: &RouteRequest<'_>) -> Result<Route, PartitionerError> {
        if let Some(panic) = &self.panicked {
            return Err(panicked(&self.plugin, panic));
        }
        self.fields.clear();
        let pairs = request.fields.iter();
        self.fields
            .extend(pairs.map(|(name, value)| Field { name: Bytes::new(name), value: Bytes::new(value) }));
        let to_route = abi::RouteRequest {
            struct_size: const { size_of::<abi::RouteRequest>() as u32 },
            partitions: u32::from(request.partitions),
            topic: Bytes::new(request.topic),
            fields: self.fields.as_ptr(),
            field_count: self.fields.len(),
            open_partition: request.open.map_or(-1, i32::from),
            reserved: 0,
        };
        let mut error = error_out(&mut self.text);
        self.call.begin();
        // SAFETY: the instance is one that `create` made and nobody has destroyed; the arguments live longer than the
        // call, and are what the ABI says they are.
        let answer = unsafe { (self.functions.route)(self.instance, &to_route, &mut error) };
        self.call.end();
        if self.fields.capacity() > FIELDS_KEPT {
            self.fields.clear();
            self.fields.shrink_to(FIELDS_KEPT);
        }
        match u16::try_from(answer) {
            Ok(index) if index < request.partitions => Ok(Route::Partition(index)),
            _ if answer == route::ANY => Ok(Route::Any),
            _ if answer == route::UNKEYED => Ok(Route::Unkeyed),
            _ => {
                let refused = self.no_route(answer, request.partitions, &error);
                // A plugin that says a length and writes nothing would show what was said of another client's event.
                self.text.fill(0);
                Err(refused)
            }
        }
    }

    fn watch(&self) -> Option<Arc<dyn RouteWatch>> {
        Some(Arc::clone(&self.call) as Arc<dyn RouteWatch>)
    }
}

impl Instance {
    #[cold]
    fn no_route(&mut self, answer: i32, partitions: u16, error: &abi::ErrorOut) -> PartitionerError {
        let topic = self.call.topic();
        let reason = match answer {
            route::FAILED => Failure::take(status::FAILED, error, &self.text).to_line(),
            route::PANICKED => {
                let panic = Failure::take(status::PANICKED, error, &self.text).to_line();
                tracing::error!(
                    file = %self.plugin.file.display(), strategy = self.plugin.name, topic, "{panic}; the topic takes no \
                     more events until TOPIC ALTER makes its strategy anew, or the next start"
                );
                self.panics.fetch_add(1, Ordering::Relaxed);
                let panic = format!("{panic}; while routing an event of topic '{topic}'");
                let error = panicked(&self.plugin, &panic);
                self.panicked = Some(panic);
                return error;
            }
            0.. => {
                format!(
                    "returned partition index {answer}, expected one below {partitions} or a code of the ABI"
                )
            }
            _ => format!("returned {answer}, expected an index below {partitions} or a code of the ABI"),
        };
        failed(&self.plugin, format_args!("{reason}; while routing an event of topic '{topic}'"))
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.call.set_function(Function::Destroy);
        self.call.begin();
        // SAFETY: `create` made it, and it is destroyed here alone, once.
        unsafe { (self.functions.destroy)(self.instance) };
        self.call.end();
    }
}

#[cfg(test)]
mod tests;

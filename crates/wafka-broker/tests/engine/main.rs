//! The engine as a whole, over every backend and every fault of the file-system seam.

mod concurrency;
mod crashes;
mod damage;
mod faults;
mod model;
mod oracle;
mod reading;
mod reclaiming;
mod starting;
mod support;
mod watching;

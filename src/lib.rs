//! webhook-inbox keeps every acknowledged message.
pub mod log;
pub mod message;
pub mod metrics;
pub mod reply;
pub mod timestamp;

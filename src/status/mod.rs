//! What a request's status says after a reconcile, how it gets there in one write, and Events.

mod compose;
mod events;
mod write;

pub use compose::{Next, Problem, Report, Severity, compose, restates};
pub use events::{About, EventSink, Note, event_queue};
pub use write::StatusWriter;

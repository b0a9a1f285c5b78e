//! Facts → score → decision. Pure: no custom resource client, no clock, no network.

mod access;
mod cel;
mod decide;
mod digest;
mod facts;
mod glob;
mod grant;
mod set;

pub use access::Access;
pub use cel::{CompileError, Expression};
pub use decide::{Decision, Factor, Refusal, Verdict, decide};
pub use facts::{Facts, NamespaceFacts, RequestFacts, ResolvedReference};
pub use glob::glob_matches;
pub use grant::{Grant, GrantedRef, GrantedSecret, ItemIdentity, KeptRef, Standing, Unconfirmed};
pub use set::{CompiledPolicy, PolicySet, PolicyState};

#[cfg(test)]
mod tests;

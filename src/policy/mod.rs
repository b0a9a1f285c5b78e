//! Facts → score → decision. Pure: no custom resource client, no clock, no network.

mod access;
mod cel;
mod decide;
mod digest;
mod facts;
mod glob;
mod grant;
mod set;
mod sum;
mod weigh;

pub use access::Access;
pub use cel::{CompileError, Expression};
pub use decide::{Decision, Hold, Refusal, Verdict, decide};
pub use facts::{
    Circumstances, Facts, NamespaceFacts, RequestFacts, Requester, ResolvedReference, ServiceFacts,
    Transient,
};
pub use glob::glob_matches;
pub use grant::{Grant, GrantedRef, GrantedSecret, ItemIdentity, KeptRef, Standing, Unconfirmed};
pub use set::{CompiledPolicy, PolicySet, PolicyState};
pub use weigh::{Factor, PolicyResult};

#[cfg(test)]
mod occasions;
#[cfg(test)]
mod tests;

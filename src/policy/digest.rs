use sha2::{Digest as _, Sha256};

use super::RequestFacts;

/// A hash over named lists of strings in which no two different inputs run together.
#[derive(Clone)]
pub(super) struct Digest(Sha256);

impl Digest {
    pub(super) fn new(request: &RequestFacts) -> Self {
        let mut hash = Sha256::new();
        hash.update(request.spec_digest);
        let mut digest = Self(hash);
        digest.part("request", [request.uid.as_str(), &request.server]);
        digest
    }

    pub(super) fn part<'s>(&mut self, name: &str, values: impl IntoIterator<Item = &'s str>) {
        let values: Vec<&str> = values.into_iter().collect();
        self.0.update((values.len() as u64).to_be_bytes());
        for value in std::iter::once(name).chain(values) {
            self.0.update((value.len() as u64).to_be_bytes());
            self.0.update(value);
        }
    }

    /// 128 bits in hex: enough to tell decisions apart.
    pub(super) fn finish(self) -> String {
        self.0.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect()
    }
}

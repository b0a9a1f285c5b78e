//! Lists, read as they come: what is held of an answer at any time is one entry, however long it is.

use reqwest::Response;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use super::body;
use super::error::Failure;

/// How much of a list is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListLimits {
    /// Of all of the answer, in bytes.
    pub body: usize,
    /// Of one entry, in bytes. This much is held in memory.
    pub entry: usize,
    /// How many entries.
    pub entries: usize,
}

/// Reads a list of objects, and gives each to `take` once it is complete.
pub(super) async fn read<T: DeserializeOwned>(
    response: Response,
    limits: ListLimits,
    mut take: impl FnMut(T) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut response = body::json(response)?;
    if body::announced(&response) > limits.body {
        return Err(Failure::TooLarge(limits.body));
    }
    let (mut read, mut count) = (0_usize, 0_usize);
    let mut splitter = Splitter::new(limits.entry);
    while let Some(chunk) = response.chunk().await.map_err(body::no_answer)? {
        read = read.saturating_add(chunk.len());
        if read > limits.body {
            return Err(Failure::TooLarge(limits.body));
        }
        splitter.feed(&chunk, |entry| {
            count += 1;
            if count > limits.entries {
                return Err(Failure::TooMany(limits.entries));
            }
            take(body::parse(entry)?)
        })?;
    }
    splitter.finish()
}

/// Cuts a JSON array of objects into the objects, however its bytes come in. It looks no further into them
/// than to find their ends: what gets each object parses it, and so finds whatever is wrong inside.
#[derive(Debug)]
struct Splitter {
    limit: usize,
    entry: Zeroizing<Vec<u8>>,
    place: Place,
}

/// Where in the array the next byte is.
#[derive(Clone, Copy, Debug)]
enum Place {
    /// Before the bracket that opens it.
    Before,
    /// Before the first object, if there is one.
    First,
    /// After a comma.
    Next,
    /// In an object, with this many brackets and braces open.
    Object { depth: usize },
    /// In a string in an object.
    Text { depth: usize },
    /// After a backslash in a string.
    Escape { depth: usize },
    /// After an object.
    Between,
    /// After the bracket that closes it.
    After,
}

impl Splitter {
    fn new(limit: usize) -> Self {
        // All of it at once, since growing leaves copies behind.
        Self { limit, entry: Zeroizing::new(Vec::with_capacity(limit)), place: Place::Before }
    }

    fn feed(
        &mut self,
        chunk: &[u8],
        mut take: impl FnMut(&[u8]) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        for &byte in chunk {
            let (was_inside, next) = (self.place.is_inside(), self.place.after(byte)?);
            self.place = next;
            if was_inside || next.is_inside() {
                if self.entry.len() == self.limit {
                    return Err(Failure::EntryTooLarge(self.limit));
                }
                self.entry.push(byte);
            }
            if was_inside && !next.is_inside() {
                take(&self.entry)?;
                self.entry.clear();
            }
        }
        Ok(())
    }

    /// Whether the array has ended.
    fn finish(self) -> Result<(), Failure> {
        match self.place {
            Place::After => Ok(()),
            _ => Err(Failure::NotConnect),
        }
    }
}

impl Place {
    fn is_inside(self) -> bool {
        matches!(self, Self::Object { .. } | Self::Text { .. } | Self::Escape { .. })
    }

    fn after(self, byte: u8) -> Result<Self, Failure> {
        let is_space = matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
        Ok(match (self, byte) {
            (Self::Before | Self::First | Self::Next | Self::Between | Self::After, _)
                if is_space =>
            {
                self
            }
            (Self::Before, b'[') => Self::First,
            (Self::First | Self::Next, b'{') => Self::Object { depth: 1 },
            (Self::First | Self::Between, b']') => Self::After,
            (Self::Between, b',') => Self::Next,
            (Self::Object { depth }, b'"') => Self::Text { depth },
            (Self::Object { depth }, b'{' | b'[') => {
                Self::Object { depth: depth.saturating_add(1) }
            }
            (Self::Object { depth: 0 | 1 }, b'}' | b']') => Self::Between,
            (Self::Object { depth }, b'}' | b']') => Self::Object { depth: depth - 1 },
            (Self::Text { depth }, b'"') => Self::Object { depth },
            (Self::Text { depth }, b'\\') => Self::Escape { depth },
            (Self::Escape { depth }, _) => Self::Text { depth },
            (Self::Object { .. } | Self::Text { .. }, _) => self,
            (Self::Before | Self::First | Self::Next | Self::Between | Self::After, _) => {
                return Err(Failure::NotConnect);
            }
        })
    }
}

#[cfg(test)]
mod tests;

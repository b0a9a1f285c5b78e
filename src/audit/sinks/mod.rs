//! Where records go.

mod file;
#[cfg(feature = "otlp")]
mod otlp;
mod stream;

use std::io::{self, Write};

pub use file::{FileOptions, FileSink};
#[cfg(feature = "otlp")]
pub use otlp::{OtlpError, OtlpSink};
pub use stream::StreamSink;

use super::chain::{Head, Line};
use crate::secret::Signer;

/// Takes records. Its calls block.
pub trait Sink: Send {
    /// The last record that is there already, where one can look.
    ///
    /// # Errors
    /// When what is there cannot be read.
    fn resume(&mut self, _signer: &Signer) -> io::Result<Option<Head>> {
        Ok(None)
    }

    /// Writes lines; they are where they belong when it returns. After an error it is called again with the same
    /// lines, and goes on where it stopped.
    ///
    /// # Errors
    /// When not all of it is written.
    fn append(&mut self, lines: &[Line]) -> io::Result<()>;
}

/// Lines as bytes, and how many of these have been written.
#[derive(Default)]
struct Pending {
    bytes: Vec<u8>,
    written: usize,
}

impl Pending {
    /// Takes up lines, unless it is in the middle of them.
    fn load(&mut self, lines: &[Line]) {
        if self.bytes.is_empty() {
            for line in lines {
                self.bytes.extend(line.text.as_bytes());
                self.bytes.push(b'\n');
            }
        }
    }

    fn write(&mut self, out: &mut (impl Write + ?Sized)) -> io::Result<()> {
        while let Some(rest) = self.bytes.get(self.written..).filter(|rest| !rest.is_empty()) {
            match out.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => self.written += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        out.flush()
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.written = 0;
    }
}

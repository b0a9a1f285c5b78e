use std::io::{self, Write};

use super::{Pending, Sink};
use crate::audit::chain::Line;

/// Writes lines to a stream such as stdout. Whoever reads it keeps them.
pub struct StreamSink {
    out: Box<dyn Write + Send>,
    pending: Pending,
}

impl StreamSink {
    /// Writes to `out`.
    #[must_use]
    pub fn new(out: Box<dyn Write + Send>) -> Self {
        Self { out, pending: Pending::default() }
    }
}

impl Sink for StreamSink {
    fn append(&mut self, lines: &[Line]) -> io::Result<()> {
        self.pending.load(lines);
        self.pending.write(&mut self.out)?;
        self.pending.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::audit::entry::Kind;

    /// Takes three bytes at a time and refuses each second call.
    #[derive(Clone, Default)]
    struct Halting(Arc<Mutex<(Vec<u8>, usize)>>);

    impl Write for Halting {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut state = self.0.lock().unwrap();
            state.1 += 1;
            if state.1.is_multiple_of(2) {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let n = bytes.len().min(3);
            state.0.extend(&bytes[..n]);
            Ok(n)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_stream_that_takes_a_part_gets_the_rest_and_nothing_twice() {
        let out = Halting::default();
        let mut sink = StreamSink::new(Box::new(out.clone()));
        let line = |text: &str| Line {
            text: text.to_owned(),
            kind: Kind::Write,
            time: chrono::Utc::now(),
        };
        for lines in [vec![line("{\"a\":1}"), line("{\"b\":2}")], vec![line("{\"c\":3}")]] {
            while sink.append(&lines).is_err() {}
        }
        assert_eq!(out.0.lock().unwrap().0, b"{\"a\":1}\n{\"b\":2}\n{\"c\":3}\n");
    }
}

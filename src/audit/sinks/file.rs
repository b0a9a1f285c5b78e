use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::{Pending, Sink};
use crate::audit::chain::{Head, Line, prove};
use crate::audit::read::LONGEST;
use crate::secret::Signer;

/// Where a file of records is, and how it is kept.
#[derive(Clone, Debug)]
pub struct FileOptions {
    /// The file.
    pub path: PathBuf,
    /// The size in bytes at which it is put aside and begun anew.
    pub max_size: u64,
    /// How many files are kept, the present one among them.
    pub max_files: u32,
    /// Whether each flush waits until the disk has it.
    pub sync: bool,
}

/// Writes lines to a file. The one before is `<path>.1`, the one before that `<path>.2`.
pub struct FileSink {
    options: FileOptions,
    file: Option<(File, u64)>,
    pending: Pending,
}

/// How much of the end of a file is looked through: first as much as most records have, then as much as any can.
const TAILS: [u64; 2] = [1 << 18, LONGEST];

impl FileSink {
    /// A sink that opens its file when it needs it first, and again where that fails.
    #[must_use]
    pub fn new(options: FileOptions) -> Self {
        Self { options, file: None, pending: Pending::default() }
    }

    fn rotated(&self, number: u32) -> PathBuf {
        let mut name = self.options.path.clone().into_os_string();
        name.push(format!(".{number}"));
        name.into()
    }

    fn rotate(&self) -> io::Result<()> {
        if self.options.max_files < 2 {
            return fs::remove_file(&self.options.path);
        }
        for number in (1..self.options.max_files - 1).rev() {
            match fs::rename(self.rotated(number), self.rotated(number + 1)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        fs::rename(&self.options.path, self.rotated(1))
    }

    /// The file with room for so many bytes, or an empty one.
    fn open(&mut self, room: u64) -> io::Result<&mut (File, u64)> {
        let full = |size: u64| size > 0 && size.saturating_add(room) > self.options.max_size;
        if let Some((_, size)) = &self.file
            && full(*size)
        {
            self.file = None;
        }
        if self.file.is_none() {
            if fs::metadata(&self.options.path).is_ok_and(|found| full(found.len())) {
                self.rotate()?;
            }
            let file = OpenOptions::new()
                .read(true)
                .append(true)
                .create(true)
                .mode(0o640)
                .open(&self.options.path)?;
            let size = cut_torn_line(&file)?;
            if self.options.sync {
                sync_folder(&self.options.path)?;
            }
            self.file = Some((file, size));
        }
        self.file.as_mut().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Sink for FileSink {
    fn resume(&mut self, signer: &Signer) -> io::Result<Option<Head>> {
        for path in [self.options.path.clone(), self.rotated(1)] {
            if let Some(head) = last_head(&path, signer)? {
                return Ok(Some(head));
            }
        }
        Ok(None)
    }

    fn append(&mut self, lines: &[Line]) -> io::Result<()> {
        self.pending.load(lines);
        let (length, sync) = (self.pending.bytes.len() as u64, self.options.sync);
        if self.pending.written == 0 {
            self.open(length)?;
        }
        let (file, size) = self.file.as_mut().ok_or(io::ErrorKind::NotFound)?;
        self.pending.write(file)?;
        if sync {
            file.sync_data()?;
        }
        *size += length;
        self.pending.clear();
        Ok(())
    }
}

fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

/// Cuts off a line that a process did not live to end: it vouched for nothing. Returns the size.
fn cut_torn_line(file: &File) -> io::Result<u64> {
    // A device or a pipe has nothing to cut.
    if !file.metadata()?.is_file() {
        return Ok(0);
    }
    let size = file.metadata()?.len();
    for length in TAILS {
        let tail = tail(file, size, length)?;
        let end = tail.iter().rev().position(|byte| *byte == b'\n');
        if end.is_none() && size > length {
            continue;
        }
        let torn = end.unwrap_or(tail.len()) as u64;
        if torn > 0 {
            file.set_len(size - torn)?;
        }
        return Ok(size - torn);
    }
    // No line of ours.
    Ok(size)
}

/// The last bytes of a file of a size.
fn tail(mut file: &File, size: u64, length: u64) -> io::Result<Vec<u8>> {
    file.seek(SeekFrom::Start(size.saturating_sub(length)))?;
    let mut tail = Vec::new();
    file.take(length).read_to_end(&mut tail)?;
    Ok(tail)
}

/// The last whole record of a file that we wrote.
fn last_head(path: &Path, signer: &Signer) -> io::Result<Option<Head>> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    // Nobody waits for what a pipe may say.
    if !file.metadata()?.is_file() {
        return Ok(None);
    }
    let size = file.metadata()?.len();
    for length in TAILS {
        let head = proven_head(&tail(&file, size, length)?, signer);
        if head.is_some() || size <= length {
            return Ok(head);
        }
    }
    Ok(None)
}

/// The last whole line that is a record of ours.
fn proven_head(tail: &[u8], signer: &Signer) -> Option<Head> {
    let whole = tail.iter().rposition(|byte| *byte == b'\n').and_then(|end| tail.get(..end));
    let mut lines = whole.into_iter().flat_map(|bytes| bytes.rsplit(|byte| *byte == b'\n'));
    let link = lines.find_map(|line| prove(std::str::from_utf8(line).ok()?, signer).ok())?;
    Some(Head { stream: link.stream, sequence: link.sequence, mac: link.mac, time: link.time })
}

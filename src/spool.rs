//! A file without a name that holds a body too large for memory. It is gone when its last handle is.
//!
//! Whoever serves creates the file and writes to it; this module reads it for an application.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::{Arc, OnceLock};

/// A spooled body, complete.
#[derive(Debug)]
pub struct Spool {
    file: Arc<File>,
    size: u64,
    /// The whole of it, once somebody wants it in memory after all.
    bytes: OnceLock<Vec<u8>>,
}

/// Reads a spooled body. Each has a position of its own.
#[derive(Clone, Debug)]
pub struct SpoolReader<'a> {
    spool: &'a Spool,
    position: u64,
}

impl Spool {
    /// The first `size` bytes of `file`, which nobody writes to any more.
    #[must_use]
    pub fn new(file: Arc<File>, size: u64) -> Spool {
        Spool { file, size, bytes: OnceLock::new() }
    }

    /// The file.
    #[must_use]
    pub fn file(&self) -> &Arc<File> {
        &self.file
    }

    /// Its size in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// All of it, read into memory at the first call.
    ///
    /// # Panics
    /// Where the file cannot be read. It is a file of our own, so this is a failing disk.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get_or_init(|| {
            let mut bytes = vec![0; usize::try_from(self.size).unwrap_or(usize::MAX)];
            match self.file.read_exact_at(&mut bytes, 0) {
                Ok(()) => bytes,
                Err(error) => panic!("a spooled body cannot be read: {error}"),
            }
        })
    }

    /// A reader from the beginning.
    #[must_use]
    pub fn reader(&self) -> SpoolReader<'_> {
        SpoolReader { spool: self, position: 0 }
    }
}

/// Creates a file in `directory` that has no name, so that nothing is left of it whatever happens.
///
/// # Errors
/// What open(2) answers.
pub fn create(directory: &Path) -> io::Result<File> {
    let mut options = File::options();
    options.read(true).write(true).mode(0o600);
    match options.clone().custom_flags(libc::O_TMPFILE).open(directory) {
        // Some file systems cannot (open(2)): there a name is made and removed.
        Err(error) if matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::EISDIR | libc::ENOENT)) => {
            create_and_unlink(&mut options, directory)
        }
        result => result,
    }
}

fn create_and_unlink(options: &mut std::fs::OpenOptions, directory: &Path) -> io::Result<File> {
    let mut last = io::Error::from(io::ErrorKind::AlreadyExists);
    for attempt in 0..NAME_COUNT {
        let nanos = std::time::SystemTime::UNIX_EPOCH.elapsed().map_or(0, |past| past.as_nanos());
        let path = directory.join(format!(".ringway-{}-{nanos:x}-{attempt}", std::process::id()));
        match options.create_new(true).open(&path) {
            Ok(file) => {
                std::fs::remove_file(&path)?;
                return Ok(file);
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => last = error,
            Err(error) => return Err(error),
        }
    }
    Err(last)
}

impl Read for SpoolReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let missing = usize::try_from(self.spool.size.saturating_sub(self.position)).unwrap_or(usize::MAX);
        let size = missing.min(buffer.len());
        let size = self.spool.file.read_at(&mut buffer[..size], self.position)?;
        self.position += size as u64;
        Ok(size)
    }
}

impl Seek for SpoolReader<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(offset) => self.spool.size.checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

/// Names that are tried before the directory is given up.
const NAME_COUNT: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    fn spool(directory: &Path, with_name: bool) -> Spool {
        let file = if with_name {
            create_and_unlink(File::options().read(true).write(true), directory)
        } else {
            create(directory)
        };
        let file = file.expect("the directory takes a file");
        file.write_all_at(b"0123456789, and more that is not of the body", 0).expect("the file takes bytes");
        Spool::new(Arc::new(file), 10)
    }

    #[test]
    fn it_is_read_from_any_place_and_leaves_no_name() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        for with_name in [false, true] {
            let spool = spool(directory.path(), with_name);
            let names = std::fs::read_dir(directory.path()).expect("it can be read").count();
            assert_eq!(names, 0, "with a name: {with_name}");
            let mut text = String::new();
            let mut reader = spool.reader();
            reader.seek(SeekFrom::End(-3)).expect("it lies within");
            reader.read_to_string(&mut text).expect("it can be read");
            assert_eq!(text, "789");
            reader.seek(SeekFrom::Current(-8)).expect("it lies within");
            let mut some = [0; 4];
            reader.read_exact(&mut some).expect("they are there");
            assert_eq!(&some, b"2345");
            assert!(reader.seek(SeekFrom::Current(-100)).is_err());
            assert_eq!(reader.seek(SeekFrom::Start(100)).ok(), Some(100));
            assert_eq!(reader.read(&mut some).ok(), Some(0), "nothing is behind the end");
            assert_eq!(spool.bytes(), b"0123456789");
        }
    }

    #[test]
    fn a_directory_that_is_not_there_is_an_error() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let error = create(&directory.path().join("missing")).expect_err("it is not there");
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}

//! Where the log goes: a file that is appended to, or standard output, which may be a pipe.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::diagnostics;
use crate::sys::write;

/// An open log.
#[derive(Debug)]
pub struct Destination {
    file: File,
    /// Absolute, so that it means the same after the program has changed its directory; none of standard output.
    path: Option<PathBuf>,
    is_regular: bool,
}

impl Destination {
    /// Standard output.
    ///
    /// # Errors
    /// It is closed.
    pub fn stdout() -> io::Result<Destination> {
        Ok(Destination::of(File::from(io::stdout().as_fd().try_clone_to_owned()?), None))
    }

    /// A file to append to, which is created where there is none.
    ///
    /// # Errors
    /// One sentence with the path and the cause.
    pub fn open(path: &Path) -> io::Result<Destination> {
        let named = |error: io::Error| {
            io::Error::new(error.kind(), format!("cannot open the access log {}: {error}", path.display()))
        };
        let path = std::path::absolute(path).map_err(named)?;
        let file = open_file(&path).map_err(named)?;
        Ok(Destination::of(file, Some(path)))
    }

    fn of(file: File, path: Option<PathBuf>) -> Destination {
        Destination { is_regular: write::is_regular(file.as_fd()), file, path }
    }

    /// Opens the path anew. Answers whether there is one.
    ///
    /// # Errors
    /// What open(2) answers; the old file stays.
    pub(super) fn reopen(&mut self) -> io::Result<bool> {
        let Some(path) = self.path.take() else { return Ok(false) };
        let opened = open_file(&path);
        self.path = Some(path);
        self.file = opened?;
        self.is_regular = write::is_regular(self.file.as_fd());
        Ok(true)
    }

    /// Its path, for a person.
    pub(super) fn shown(&self) -> String {
        self.path.as_ref().map_or_else(|| "-".to_string(), |path| path.display().to_string())
    }

    /// Writes of these lines what is taken now: as many as there are to a file, so that those of other processes come
    /// before or behind all of them; to a pipe whole lines, as many as it takes in one piece.
    ///
    /// # Errors
    /// `WouldBlock` where nothing is taken now; else what write(2) answers.
    pub(super) fn write(&mut self, lines: &[u8]) -> io::Result<usize> {
        loop {
            let written = if self.is_regular {
                self.file.write(lines)
            } else {
                write::write_now(self.file.as_fd(), &lines[..diagnostics::piece_size(lines)])
            };
            match written {
                Ok(0) if !lines.is_empty() => return Err(ErrorKind::WriteZero.into()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                result => return result,
            }
        }
    }

    /// Waits until something may be taken again.
    pub(super) fn wait(&self, timeout: Duration) {
        // The next write finds out whether it is.
        let _ = write::wait_writable(self.file.as_fd(), timeout);
    }
}

/// The flag makes a pipe with a name an error where nobody reads it, and not a wait; a file does not mind it, and the
/// open file is nobody else's.
fn open_file(path: &Path) -> io::Result<File> {
    File::options().append(true).create(true).custom_flags(libc::O_NONBLOCK).open(path)
}

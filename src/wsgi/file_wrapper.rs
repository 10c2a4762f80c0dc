//! `wsgi.file_wrapper`: an iterable over a file-like object (PEP 3333, "Optional Platform-Specific File Handling").
//!
//! One over a regular file is sent from where it lies, from the file's current position on. That is done for the
//! file objects of Python's own `io` alone: others may have a `fileno()` whose bytes are not theirs, as `gzip` has.

use std::fs::File;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use pyo3::exceptions::PyTypeError;
use pyo3::gc::{PyTraverseError, PyVisit};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::buffer::FileRange;

/// The class of the wrapper.
#[pyclass(frozen, name = "FileWrapper", module = "ringway")]
pub(super) struct FileWrapper {
    #[pyo3(get)]
    filelike: Py<PyAny>,
    block_size: usize,
}

#[pymethods]
impl FileWrapper {
    #[new]
    #[pyo3(signature = (filelike, block_size = 8192))]
    fn new(filelike: Py<PyAny>, block_size: usize) -> FileWrapper {
        FileWrapper { filelike, block_size: block_size.max(1) }
    }

    fn __iter__(slf: Py<Self>) -> Py<Self> {
        slf
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let block = self.filelike.bind(py).call_method1("read", (self.block_size,))?;
        let block = block.cast_into::<PyBytes>().map_err(|_| PyTypeError::new_err("the file gave no bytes"))?;
        Ok(Some(block).filter(|block| !block.as_bytes().is_empty()))
    }

    /// For the collector: a file object may hold its wrapper. To be found is enough, for the object can be cleared.
    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.filelike)
    }

    fn close(&self, py: Python<'_>) -> PyResult<()> {
        let filelike = self.filelike.bind(py);
        match filelike.getattr_opt("close")? {
            Some(close) => close.call0().map(drop),
            None => Ok(()),
        }
    }
}

impl FileWrapper {
    /// The rest of the file, if it is a regular one that can be sent as it lies.
    pub(super) fn range(&self, py: Python<'_>) -> PyResult<Option<FileRange>> {
        let filelike = self.filelike.bind(py);
        let kind = filelike.get_type();
        let io = py.import("io")?;
        let mut is_own = false;
        for name in ["BufferedReader", "BufferedRandom", "FileIO"] {
            is_own |= kind.is(&io.getattr(name)?);
        }
        if !is_own {
            return Ok(None);
        }
        let number: i32 = filelike.call_method0("fileno")?.extract()?;
        let offset: u64 = filelike.call_method0("tell")?.extract()?;
        // SAFETY: the Python object keeps its descriptor open during this call, which has the interpreter's lock.
        let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
        let file = File::from(descriptor.try_clone_to_owned()?);
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Ok(None);
        }
        let size = metadata.len().saturating_sub(offset);
        Ok(Some(FileRange { file: Arc::new(file), offset, size }))
    }
}

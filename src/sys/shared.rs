//! Memory that several processes share: a header, and rows behind it, in a file without a name.
//!
//! Whoever has the descriptor can map the same bytes. Its size is sealed, so that no process can pull the memory from
//! under another. What a process that has died left there stays as it was.

use std::io;
use std::marker::PhantomData;
use std::mem::size_of;
use std::ops::Deref;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::NonNull;
use std::sync::Arc;

use crate::stats::{Header, Stats};

/// What may lie in memory that others write at any time.
///
/// # Safety
/// It is `repr(C)` and consists of atomic integers, of which any bytes are a value, so zeros too.
pub unsafe trait Shareable: Sync {}

// SAFETY: atomic integers in `repr(C)`.
unsafe impl Shareable for Header {}
// SAFETY: atomic integers, and arrays of them, in `repr(C)`.
unsafe impl Shareable for Stats {}

/// One mapping of a header `H` and rows `T`.
#[derive(Debug)]
pub struct Shared<H, T> {
    memory: NonNull<u8>,
    size: usize,
    row_count: usize,
    /// `None` where nobody else is to have it.
    file: Option<OwnedFd>,
    kinds: PhantomData<(H, T)>,
}

/// A row, which keeps the mapping that it lies in.
#[derive(Debug)]
pub struct SharedRow<H, T> {
    row: NonNull<T>,
    shared: Arc<Shared<H, T>>,
}

// SAFETY: it owns the mapping, and all access is through shared references to types that are `Sync`.
unsafe impl<H: Shareable, T: Shareable> Send for Shared<H, T> {}
// SAFETY: as above.
unsafe impl<H: Shareable, T: Shareable> Sync for Shared<H, T> {}
// SAFETY: it is a shared reference into a mapping that it keeps, to a type that is `Sync`.
unsafe impl<H: Shareable, T: Shareable> Send for SharedRow<H, T> {}
// SAFETY: as above.
unsafe impl<H: Shareable, T: Shareable> Sync for SharedRow<H, T> {}

impl<H: Shareable, T: Shareable> Shared<H, T> {
    /// Zeroed memory in a file that other processes can be given.
    ///
    /// # Errors
    /// No descriptor, no memory, or a kernel that refuses `memfd_create`.
    pub fn new(row_count: usize) -> io::Result<Shared<H, T>> {
        let size = Self::size_of(row_count)?;
        let file = new_file(size)?;
        Ok(Shared { memory: map(size, Some(&file))?, size, row_count, file: Some(file), kinds: PhantomData })
    }

    /// Zeroed memory for this process and what it forks.
    ///
    /// # Errors
    /// No memory.
    pub fn private(row_count: usize) -> io::Result<Shared<H, T>> {
        let size = Self::size_of(row_count)?;
        Ok(Shared { memory: map(size, None)?, size, row_count, file: None, kinds: PhantomData })
    }

    /// Maps what another process has made; as many rows as there are.
    ///
    /// # Errors
    /// `InvalidData` where the descriptor is not of such memory.
    pub fn adopt(file: OwnedFd) -> io::Result<Shared<H, T>> {
        // SAFETY: no pointer is passed.
        let seals = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GET_SEALS) };
        let size = usize::try_from(file_size(&file)?).unwrap_or(0);
        let rows_size = size.checked_sub(Self::row_offset());
        let row_count = rows_size.filter(|size| size % size_of::<T>() == 0).map_or(0, |size| size / size_of::<T>());
        if seals < 0 || seals & SEALS != SEALS || row_count == 0 {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(Shared { memory: map(size, Some(&file))?, size, row_count, file: Some(file), kinds: PhantomData })
    }

    /// The header.
    pub fn header(&self) -> &H {
        // SAFETY: the mapping begins with a header, page-aligned, of which any bytes are a value; it lives as long as
        // `self`, and everybody writes it through atomics.
        unsafe { self.memory.cast::<H>().as_ref() }
    }

    /// The rows.
    pub fn rows(&self) -> &[T] {
        // SAFETY: behind the header there is room for so many rows, aligned, of which any bytes are a value; they live
        // as long as `self`, and everybody writes them through atomics.
        unsafe { std::slice::from_raw_parts(self.memory.add(Self::row_offset()).cast::<T>().as_ptr(), self.row_count) }
    }

    /// One row; `None` past the last.
    pub fn row(self: &Arc<Self>, index: usize) -> Option<SharedRow<H, T>> {
        self.rows().get(index).map(|row| SharedRow { row: NonNull::from(row), shared: self.clone() })
    }

    /// What another process can be given.
    pub fn descriptor(&self) -> Option<RawFd> {
        self.file.as_ref().map(AsRawFd::as_raw_fd)
    }

    /// Where the first row begins.
    const fn row_offset() -> usize {
        assert!(align_of::<H>() <= 4096 && align_of::<T>() <= 4096, "a page aligns both");
        size_of::<H>().next_multiple_of(align_of::<T>())
    }

    fn size_of(row_count: usize) -> io::Result<usize> {
        let size = row_count.max(1).checked_mul(size_of::<T>()).and_then(|size| size.checked_add(Self::row_offset()));
        size.filter(|size| isize::try_from(*size).is_ok()).ok_or_else(|| io::ErrorKind::OutOfMemory.into())
    }
}

impl<H, T> Drop for Shared<H, T> {
    fn drop(&mut self) {
        // SAFETY: it is the whole mapping, made by this value, and every reference into it has ended.
        unsafe { libc::munmap(self.memory.as_ptr().cast(), self.size) };
    }
}

impl<H, T> Clone for SharedRow<H, T> {
    fn clone(&self) -> SharedRow<H, T> {
        SharedRow { row: self.row, shared: self.shared.clone() }
    }
}

impl<H: Shareable, T: Shareable> Deref for SharedRow<H, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the row lies in the mapping that `shared` keeps.
        unsafe { self.row.as_ref() }
    }
}

/// A file in memory, without a name, closed on exec, zeroed, of a size that stays.
fn new_file(size: usize) -> io::Result<OwnedFd> {
    let flags = libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING;
    // SAFETY: the name is a string with its NUL.
    let descriptor = unsafe { libc::memfd_create(c"ringway-board".as_ptr(), flags) };
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the descriptor was just made and belongs to nobody else.
    let file = unsafe { OwnedFd::from_raw_fd(descriptor) };
    let size = libc::off_t::try_from(size).map_err(io::Error::other)?;
    // SAFETY: no pointer is passed.
    if unsafe { libc::ftruncate(descriptor, size) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: no pointer is passed.
    if unsafe { libc::fcntl(descriptor, libc::F_ADD_SEALS, SEALS) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(file)
}

fn file_size(file: &OwnedFd) -> io::Result<libc::off_t> {
    let mut status = std::mem::MaybeUninit::<libc::stat>::zeroed();
    // SAFETY: the pointer is valid for what the call writes.
    if unsafe { libc::fstat(file.as_raw_fd(), status.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: all-zero bytes are a valid `stat`, and the call leaves it valid.
    Ok(unsafe { status.assume_init() }.st_size)
}

/// Maps the whole of a file, or as much memory without one.
fn map(size: usize, file: Option<&OwnedFd>) -> io::Result<NonNull<u8>> {
    let (anonymous, descriptor) = file.map_or((libc::MAP_ANONYMOUS, -1), |file| (0, file.as_raw_fd()));
    let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | anonymous);
    // SAFETY: a new mapping, wherever there is room for it, of a file whose size is sealed.
    let memory = unsafe { libc::mmap(std::ptr::null_mut(), size, protection, flags, descriptor, 0) };
    match NonNull::new(memory.cast::<u8>()) {
        Some(memory) if memory.as_ptr().cast() != libc::MAP_FAILED => Ok(memory),
        Some(_) | None => Err(io::Error::last_os_error()),
    }
}

/// The size stays, and so does that.
const SEALS: libc::c_int = libc::F_SEAL_SHRINK | libc::F_SEAL_GROW | libc::F_SEAL_SEAL;

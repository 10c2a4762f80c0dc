//! What some answers of the kernel mean, decided without a ring, so that each can be tried: those of
//! `io_uring_enter` and of the tick. Those of a setup are in `setup`, those of a send in `operation`.

use std::io;

use crate::sys::Errno;

/// Whether an enter has taken what it was given.
///
/// # Errors
/// What leaves the ring unusable. A signal (EINTR), more completions than there is room for (EBUSY) and a lack of
/// memory for requests (EAGAIN) are none of it: completions are taken first, then it is tried again.
pub(super) fn is_taken(result: io::Result<usize>) -> io::Result<bool> {
    match result {
        Ok(_) => Ok(true),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EINTR | libc::EBUSY | libc::EAGAIN)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// The tick's timeout.
pub(super) struct Tick {
    pub(super) is_wanted: bool,
    pub(super) is_armed: bool,
    /// Before 6.4 there is no multishot timeout.
    pub(super) is_multishot: bool,
}

impl Tick {
    /// Notes a completion of the timeout. Answers whether it is a tick (time that has passed is `ETIME`, no error)
    /// and whether the timeout is to be armed again. One that is refused without multishot too is not, or it would
    /// spin.
    pub(super) fn note(&mut self, result: Result<usize, Errno>, more: bool) -> (bool, bool) {
        let is_refused = result == Err(Errno(libc::EINVAL));
        let is_hopeless = is_refused && !self.is_multishot;
        self.is_armed &= more;
        self.is_multishot &= !is_refused;
        let is_tick = self.is_wanted && result == Err(Errno(libc::ETIME));
        (is_tick, self.is_wanted && !self.is_armed && !is_hopeless)
    }
}

impl Default for Tick {
    fn default() -> Tick {
        Tick { is_wanted: false, is_armed: false, is_multishot: true }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_of_an_enter_has_its_consequence() {
        for (errno, expected) in [
            (libc::EINTR, Ok(false)),
            (libc::EBUSY, Ok(false)),
            (libc::EAGAIN, Ok(false)),
            (libc::EBADF, Err(libc::EBADF)),
            (libc::EBADFD, Err(libc::EBADFD)),
            (libc::EBADR, Err(libc::EBADR)),
            (libc::EEXIST, Err(libc::EEXIST)),
            (libc::EFAULT, Err(libc::EFAULT)),
            (libc::EINVAL, Err(libc::EINVAL)),
            (libc::ENXIO, Err(libc::ENXIO)),
        ] {
            let is = is_taken(Err(io::Error::from_raw_os_error(errno)));
            assert_eq!(is.map_err(|error| Errno::of(&error).0), expected, "{}", Errno(errno));
        }
        assert!(matches!(is_taken(Ok(0)), Ok(true)));
        assert!(matches!(is_taken(Ok(7)), Ok(true)));
    }

    /// A completion of the tick, whether ticks are wanted by then, and multishot known to be refused; and whether
    /// it is a tick, is to be armed, and multishot from then on.
    #[test]
    fn every_answer_of_a_tick_has_its_consequence() {
        for (name, errno, more, is_wanted, is_multishot, expected) in [
            ("time has passed", libc::ETIME, true, true, true, (true, false, true)),
            ("and it has ended", libc::ETIME, false, true, true, (true, true, true)),
            ("and is not wanted any more", libc::ETIME, true, false, true, (false, false, true)),
            ("before 6.4", libc::EINVAL, false, true, true, (false, true, false)),
            ("before 6.4, later", libc::ETIME, false, true, false, (true, true, false)),
            ("refused at all", libc::EINVAL, false, true, false, (false, false, false)),
            ("stopped", libc::ECANCELED, false, false, true, (false, false, true)),
            ("stopped and wanted again", libc::ECANCELED, false, true, true, (false, true, true)),
        ] {
            let mut tick = Tick { is_wanted, is_armed: true, is_multishot };
            let (is_tick, is_to_be_armed) = tick.note(Err(Errno(errno)), more);
            assert_eq!((is_tick, is_to_be_armed, tick.is_multishot), expected, "{name}");
            assert_eq!(tick.is_armed, more, "{name}");
        }
    }
}

//! Listening sockets that outlive those who serve from them: a supervisor's.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::path::Path;

use socket2::SockRef;

use crate::config::Address;
use crate::environ::Origin;
use crate::sys;

use super::bind::{self, SocketFile};
use super::{Shares, shares};

/// Listeners for workers that other processes are; the files of unix sockets are removed with it.
pub(crate) struct Listeners {
    /// As the banner shows them.
    pub(crate) places: Vec<String>,
    /// What an environ says of each address.
    origins: Vec<Origin>,
    /// Which addresses were bound by this server, so that nobody else holds them.
    own: Vec<bool>,
    /// For each worker a socket for each address.
    shares: Vec<Vec<OwnedFd>>,
    files: Vec<SocketFile>,
}

impl Listeners {
    /// Listens on each address with `count` sockets.
    pub(crate) fn bind(addresses: &[Address], count: usize) -> io::Result<Listeners> {
        let mut bounds = addresses.iter().map(|one| bind::bind(one, count)).collect::<io::Result<Vec<_>>>()?;
        let files = bounds.iter_mut().filter_map(|bound| bound.file.take()).collect();
        let places = bounds.iter().map(|bound| bound.shown.clone()).collect();
        let origins = bounds.iter().map(|bound| bound.origin.clone()).collect();
        let own = bounds.iter().map(|bound| bound.is_own).collect();
        Ok(Listeners { places, origins, own, shares: shares(&mut bounds, count), files })
    }

    /// Takes over what a predecessor in this process has listened on, without the files of unix sockets.
    pub(crate) fn adopt(shares: Vec<Vec<OwnedFd>>, own: Vec<bool>) -> io::Result<Listeners> {
        let (mut places, mut origins) = (Vec::new(), Vec::new());
        for socket in shares.first().into_iter().flatten() {
            let bound = bind::adopt(vec![socket.try_clone()?])?;
            places.push(bound.shown);
            origins.push(bound.origin);
        }
        Ok(Listeners { places, origins, own, shares, files: Vec::new() })
    }

    /// Takes the files of those unix sockets that are among these addresses, which the predecessor has bound. Others
    /// were passed to it, and their files are for whoever did that to remove.
    pub(crate) fn take_files(&mut self, addresses: &[Address]) {
        for socket in self.shares.first().into_iter().flatten() {
            let local = SockRef::from(socket).local_addr().ok();
            let path = local.as_ref().and_then(|local| local.as_pathname());
            let is_ours = |path: &&Path| addresses.iter().any(|one| matches!(one, Address::Unix(own) if own == path));
            self.files.extend(path.filter(is_ours).and_then(|path| SocketFile::of(path).ok()));
        }
    }

    /// What an environ says of each address.
    pub(crate) fn origins(&self) -> Vec<Origin> {
        self.origins.clone()
    }

    /// The numbers of one worker's sockets.
    pub(crate) fn share(&self, worker: usize) -> Vec<RawFd> {
        self.shares.get(worker).into_iter().flatten().map(AsRawFd::as_raw_fd).collect()
    }

    /// How many workers there are sockets for.
    pub(crate) fn count(&self) -> usize {
        self.shares.len()
    }

    /// The files of unix sockets.
    pub(crate) fn files(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(SocketFile::path)
    }

    /// The sockets, for workers of this process.
    pub(crate) fn take(&mut self) -> Shares {
        Shares { sockets: std::mem::take(&mut self.shares), own: self.own.clone() }
    }

    /// Which addresses nobody else holds.
    pub(crate) fn own(&self) -> &[bool] {
        &self.own
    }

    /// Has the kernel refuse newcomers and lets go of the sockets, so that who drains them is the last to hold them.
    pub(crate) fn close(&mut self) {
        // A file that is gone refuses those who would come to a unix socket.
        self.files.clear();
        for (socket, is_own) in self.shares.drain(..).flat_map(|share| share.into_iter().zip(&self.own)) {
            if *is_own {
                sys::refuse_newcomers(&socket);
            }
        }
    }
}

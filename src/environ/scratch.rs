//! Where an environ assembles what does not lie ready in the receive buffer.
//!
//! Values are made when asked for, stay while the request lasts, and their memory is used again for the
//! next one: after warm-up nothing is allocated. The trick is that of a once-cell: a filled cell is lent,
//! an empty one is filled through a shared reference, and only `reset`, which needs the scratch alone,
//! empties them. No unsafe code, no I/O.

use std::cell::{Cell, OnceCell, RefCell};
use std::io::Write;
use std::net::IpAddr;

use crate::http::head::Field;
use crate::http::target;

/// Assembled values of the request at hand.
#[derive(Default)]
pub struct Scratch {
    path: OnceCell<Vec<u8>>,
    address: OnceCell<Vec<u8>>,
    port: OnceCell<Vec<u8>>,
    proxy: OnceCell<Vec<u8>>,
    joined: [OnceCell<Joined>; JOINED_COUNT],
    /// More names were joined than the array holds: a rare request, one allocation each eight names.
    beyond: OnceCell<Box<Scratch>>,
    spares: RefCell<Vec<Vec<u8>>>,
    /// Whether any cell is filled.
    is_used: Cell<bool>,
}

/// The values of every field of one name.
struct Joined {
    name: Vec<u8>,
    value: Vec<u8>,
}

impl Scratch {
    /// Forgets the request and keeps the memory.
    pub fn reset(&mut self) {
        if !self.is_used.replace(false) {
            return;
        }
        let spares = self.spares.get_mut();
        for cell in [&mut self.path, &mut self.address, &mut self.port, &mut self.proxy] {
            spares.extend(cell.take());
        }
        for cell in &mut self.joined {
            if let Some(Joined { name, value }) = cell.take() {
                spares.extend([name, value]);
            }
        }
        self.beyond.take();
    }

    /// `path`, percent-decoded once.
    pub(super) fn path(&self, path: &[u8]) -> &[u8] {
        self.path.get_or_init(|| {
            let mut decoded = self.spare();
            target::decode_into(path, &mut decoded);
            decoded
        })
    }

    /// `address` as text.
    pub(super) fn address(&self, address: IpAddr) -> &[u8] {
        self.address.get_or_init(|| self.text(address.to_canonical()))
    }

    /// `port` as text.
    pub(super) fn port(&self, port: u16) -> &[u8] {
        self.port.get_or_init(|| self.text(port))
    }

    /// The address of a proxy as text.
    pub(super) fn proxy(&self, address: IpAddr) -> &[u8] {
        self.proxy.get_or_init(|| self.text(address.to_canonical()))
    }

    /// The values of all `fields` named `name`, joined: by `; ` for Cookie (RFC 9113 §8.2.3), else by `, `.
    pub(super) fn joined(&self, fields: &[Field<'_>], name: &[u8]) -> &[u8] {
        let join = || {
            let mut value = self.spare();
            let separator: &[u8] = if name.eq_ignore_ascii_case(b"cookie") { b"; " } else { b", " };
            let named = fields.iter().filter(|field| field.name.as_bytes().eq_ignore_ascii_case(name));
            // An empty value keeps its place: it is an element of the list like another.
            for (index, field) in named.enumerate() {
                if index > 0 {
                    value.extend_from_slice(separator);
                }
                value.extend_from_slice(field.value);
            }
            let mut kept = self.spare();
            kept.extend_from_slice(name);
            Joined { name: kept, value }
        };
        for cell in &self.joined {
            let joined = cell.get_or_init(join);
            if joined.name.eq_ignore_ascii_case(name) {
                return &joined.value;
            }
        }
        self.beyond.get_or_init(Box::default).joined(fields, name)
    }

    fn text(&self, value: impl std::fmt::Display) -> Vec<u8> {
        let mut text = self.spare();
        // Writing to a vector does not fail.
        let _ = write!(text, "{value}");
        text
    }

    fn spare(&self) -> Vec<u8> {
        self.is_used.set(true);
        let mut spare = self.spares.borrow_mut().pop().unwrap_or_default();
        spare.clear();
        spare
    }
}

const JOINED_COUNT: usize = 8;

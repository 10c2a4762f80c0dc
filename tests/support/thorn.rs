//! Bytes that panic when they are dropped.

/// As a body that is lent it is dropped behind its last send.
pub(crate) struct Thorn(pub(crate) Vec<u8>);

impl Drop for Thorn {
    fn drop(&mut self) {
        panic!("on purpose");
    }
}

impl AsRef<[u8]> for Thorn {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

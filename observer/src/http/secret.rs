//! Bytes of heads, which may hold passwords and tokens: wiped when they are no longer needed.

use std::ops::Deref;

use zeroize::Zeroize;

/// Bytes that are wiped when they are dropped, cleared or moved.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Adds bytes. A buffer that is left behind for a larger one is wiped.
    pub fn extend(&mut self, bytes: &[u8]) {
        let needed = self.0.len() + bytes.len();
        if needed > self.0.capacity() {
            let mut larger = Vec::with_capacity(needed.next_power_of_two());
            larger.extend_from_slice(&self.0);
            std::mem::replace(&mut self.0, larger).zeroize();
        }
        self.0.extend_from_slice(bytes);
    }

    /// Forgets the bytes.
    pub fn clear(&mut self) {
        self.0.zeroize();
    }
}

impl From<&[u8]> for Secret {
    fn from(bytes: &[u8]) -> Self {
        Secret(bytes.to_vec())
    }
}

impl Deref for Secret {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// Bytes of heads belong into no log.
impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_kept_in_order_over_many_pieces() {
        let mut secret = Secret::default();
        let whole: Vec<u8> = (0..5000_u32).map(|index| index as u8).collect();
        whole.chunks(7).for_each(|piece| secret.extend(piece));
        assert_eq!(&*secret, &whole[..]);
        secret.clear();
        assert!(secret.is_empty());
    }

    #[test]
    fn nothing_of_it_is_printed() {
        assert_eq!(format!("{:?}", Secret::from(&b"Bearer token"[..])), "12 bytes");
    }
}

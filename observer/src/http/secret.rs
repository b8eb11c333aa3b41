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
            wipe(&mut std::mem::replace(&mut self.0, larger));
        }
        self.0.extend_from_slice(bytes);
    }

    /// Forgets the bytes.
    pub fn clear(&mut self) {
        // Behind the bytes nothing was ever written but what was wiped.
        wipe(&mut self.0);
        self.0.clear();
    }
}

impl From<Vec<u8>> for Secret {
    fn from(bytes: Vec<u8>) -> Self {
        Secret(bytes)
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
        self.clear();
    }
}

/// Text that is wiped when it is dropped.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SecretText(String);

/// Memory beyond this is not kept for other heads.
const KEPT_BYTES_MAX: usize = 2048;

impl SecretText {
    /// Forgets the text, and keeps its memory unless that is much.
    pub fn clear(&mut self) {
        let mut bytes = std::mem::take(&mut self.0).into_bytes();
        wipe(&mut bytes);
        bytes.clear();
        if bytes.capacity() <= KEPT_BYTES_MAX {
            self.0 = String::from_utf8(bytes).unwrap_or_default();
        }
    }

    /// Takes the place of an empty text.
    pub fn fill(&mut self, text: &str) {
        // Nothing is left behind where the memory is too small.
        debug_assert!(self.0.is_empty());
        self.0.reserve_exact(text.len());
        self.0.push_str(text);
    }
}

impl From<String> for SecretText {
    fn from(text: String) -> Self {
        SecretText(text)
    }
}

impl Deref for SecretText {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Drop for SecretText {
    fn drop(&mut self) {
        wipe(&mut std::mem::take(&mut self.0).into_bytes());
    }
}

/// As of [`Secret`].
impl std::fmt::Debug for SecretText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

/// Bytes of heads belong into no log.
impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

/// A slice is wiped at once, a vector byte by byte.
fn wipe(bytes: &mut [u8]) {
    // An empty vector has no address. Where there is AVX-512, `memset` stores nothing there under an empty mask, and a
    // processor takes longer to hold back the fault than to wipe a whole head.
    if !bytes.is_empty() {
        bytes.zeroize();
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
        assert_eq!(format!("{:?}", Secret::from(b"Bearer token".to_vec())), "12 bytes");
        assert_eq!(format!("{:?}", SecretText::from("Bearer token".to_owned())), "12 bytes");
    }
}

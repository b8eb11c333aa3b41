//! Searches in texts that are mostly short: lines of heads, targets, hosts.

/// Bytes that are looked at together.
const LANES: usize = 16;

/// What is longer is left to `memchr`, which looks at more bytes together but costs as much as this for being called.
const SHORT_BYTES: usize = 8 * LANES;

const ONES: u64 = u64::from_ne_bytes([1; 8]);
const HIGHEST: u64 = ONES << 7;

/// Where a byte lies first.
#[inline]
pub fn find<const BYTE: u8>(text: &[u8]) -> Option<usize> {
    let mut before = 0;
    while let Some(lanes) = text[before..].first_chunk::<LANES>() {
        // Without branches: only so the lanes are compared at once.
        if lanes.iter().fold(false, |is_any, &byte| is_any | (byte == BYTE)) {
            let in_words = lanes
                .as_chunks()
                .0
                .iter()
                .zip([0, 8])
                .find_map(|(word, at)| Some(at + first(equal_to::<BYTE>(*word))?));
            return Some(before + in_words?);
        }
        before += LANES;
        if before == SHORT_BYTES {
            return Some(before + memchr::memchr(BYTE, &text[before..])?);
        }
    }
    Some(before + text[before..].iter().position(|&byte| byte == BYTE)?)
}

/// Where the first byte lies that is a colon, or no graphic one of ASCII but below them: what the name of a field ends with.
#[inline]
pub fn end_of_name(text: &[u8]) -> Option<usize> {
    let (words, rest) = text.as_chunks();
    for (index, word) in words.iter().enumerate() {
        let is_space = u64::from_le_bytes(*word).wrapping_sub(ONES * u64::from(b'!')) & !u64::from_le_bytes(*word);
        if let Some(at) = first(equal_to::<b':'>(*word) | is_space) {
            return Some(index * 8 + at);
        }
    }
    let is_end = |&byte: &u8| byte < b'!' || byte == b':';
    Some(words.len() * 8 + rest.iter().position(is_end)?)
}

/// The highest bit of each byte that is this one. Of all behind the first such byte it says nothing.
fn equal_to<const BYTE: u8>(word: [u8; 8]) -> u64 {
    let differing = u64::from_le_bytes(word) ^ (ONES * u64::from(BYTE));
    differing.wrapping_sub(ONES) & !differing
}

/// The first byte whose highest bit is set.
fn first(marked: u64) -> Option<usize> {
    let marked = marked & HIGHEST;
    (marked != 0).then(|| marked.trailing_zeros() as usize / 8)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(4096))]

        #[test]
        fn what_is_found_is_the_first_one(
            text in prop::collection::vec(prop::sample::select(&b"ab:; !\r\n\x80\xff\0\x7f/"[..]), 0..90),
            quiet in 0..160_usize,
        ) {
            let text = [vec![b'a'; quiet], text].concat();
            let place = |byte: u8| text.iter().position(|&other| other == byte);
            prop_assert_eq!(find::<b':'>(&text), place(b':'));
            prop_assert_eq!(find::<b'\n'>(&text), place(b'\n'));
            prop_assert_eq!(find::<0>(&text), place(0));
            prop_assert_eq!(find::<0x80>(&text), place(0x80));
            prop_assert_eq!(find::<0xff>(&text), place(0xff));
            let is_end = |&byte: &u8| byte < b'!' || byte == b':';
            prop_assert_eq!(end_of_name(&text), text.iter().position(is_end));
        }
    }
}

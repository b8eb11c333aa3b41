//! Searches in texts that are mostly short: lines of heads, targets, hosts.

/// In so many first bytes eight are looked at together; behind them `memchr` looks at more, whose call costs as much.
const SHORT_BYTES: usize = 64;

const ONES: u64 = u64::from_ne_bytes([1; 8]);
const HIGHEST: u64 = ONES << 7;

/// Where a byte lies first.
#[inline]
pub fn find(byte: u8, text: &[u8]) -> Option<usize> {
    let (short, long) = text.split_at(text.len().min(SHORT_BYTES));
    match in_words(short, |word| equal_to(word, byte)) {
        None if !long.is_empty() => Some(SHORT_BYTES + memchr::memchr(byte, long)?),
        found => found,
    }
}

/// Where the first byte lies that is a colon, or no graphic one of ASCII but below them: what the name of a field ends with.
#[inline]
pub fn end_of_name(text: &[u8]) -> Option<usize> {
    in_words(text, |word| equal_to(word, b':') | word.wrapping_sub(ONES * u64::from(b'!')) & !word)
}

/// The highest bit of each byte that is this one. Of all behind the first such byte it says nothing.
fn equal_to(word: u64, byte: u8) -> u64 {
    let differing = word ^ (ONES * u64::from(byte));
    differing.wrapping_sub(ONES) & !differing
}

/// The first byte whose highest bit `is_it` sets in a word of eight, the first one lowest.
fn in_words(text: &[u8], is_it: impl Fn(u64) -> u64) -> Option<usize> {
    let first = |word: [u8; 8]| {
        let found = is_it(u64::from_le_bytes(word)) & HIGHEST;
        (found != 0).then(|| found.trailing_zeros() as usize / 8)
    };
    let (words, rest) = text.as_chunks();
    for (index, word) in words.iter().enumerate() {
        if let Some(at) = first(*word) {
            return Some(index * 8 + at);
        }
    }
    match text.last_chunk() {
        _ if rest.is_empty() => None,
        // Those of them that were looked at before are none.
        Some(last) => Some(text.len() - 8 + first(*last)?),
        // What fills the word up behind them counts for nothing.
        None => {
            let mut word = [0; 8];
            word[..rest.len()].copy_from_slice(rest);
            first(word).filter(|&at| at < rest.len())
        }
    }
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
            byte in prop::sample::select(&b":/\n?\x80\xff\0"[..]),
            quiet in 0..80_usize,
        ) {
            let text = [vec![b'a'; quiet], text].concat();
            prop_assert_eq!(find(byte, &text), text.iter().position(|&other| other == byte));
            let is_end = |&byte: &u8| byte < b'!' || byte == b':';
            prop_assert_eq!(end_of_name(&text), text.iter().position(is_end));
        }
    }
}

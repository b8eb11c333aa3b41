//! The PROXY protocol's header, which a load balancer puts before a connection's first request. It is no part of the
//! request: nginx cuts it off before it makes one (`ngx_proxy_protocol_read`).

/// What version 2 begins with.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Signature, version and command, family, length.
const FIXED_BYTES: usize = 16;
/// The longest header of version 1, its line end included.
const LINE_BYTES_MAX: usize = 107;

/// Length of the header at the start of a connection's first `bytes`; 0 if there is none. nginx takes it only whole.
pub fn header_bytes(bytes: &[u8]) -> usize {
    if let Some(rest) = bytes.strip_prefix(SIGNATURE) {
        let length = rest.get(2..4).map_or(0, |length| usize::from(u16::from_be_bytes([length[0], length[1]])));
        let whole = FIXED_BYTES + length;
        return if rest.len() >= 4 && bytes.len() >= whole { whole } else { 0 };
    }
    let is_version_1 =
        [&b"PROXY TCP4 "[..], b"PROXY TCP6 ", b"PROXY UNKNOWN"].iter().any(|start| bytes.starts_with(start));
    let line = &bytes[..bytes.len().min(LINE_BYTES_MAX)];
    match line.windows(2).position(|pair| pair == b"\r\n") {
        Some(end) if is_version_1 => end + 2,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_are_cut_off_before_the_request() {
        let v1 = b"PROXY TCP4 192.0.2.7 192.0.2.8 40000 80\r\n";
        let v2 = [&SIGNATURE[..], &[0x21, 0x11, 0, 12], &[0; 12]].concat();
        for header in [&v1[..], b"PROXY UNKNOWN\r\n", &v2] {
            assert_eq!(header_bytes(&[header, b"GET / HTTP/1.1\r\n\r\n"].concat()), header.len());
            assert_eq!(header_bytes(header), header.len());
            for end in 0..header.len() {
                assert_eq!(header_bytes(&header[..end]), 0, "only {end} bytes of {header:?}");
            }
        }
    }

    #[test]
    fn a_request_is_none() {
        for request in ["GET / HTTP/1.1\r\n\r\n", "PROXY /x HTTP/1.1\r\n\r\n", "\r\n\r\nGET / HTTP/1.1\r\n\r\n"] {
            assert_eq!(header_bytes(request.as_bytes()), 0);
        }
    }
}

//! Checksums that stores send beside an object's bytes. They are of the whole object, so only an answer with
//! all of it says what to expect; what is resumed later is held against the same.

use base64::prelude::{Engine, BASE64_STANDARD};
use crc_fast::CrcAlgorithm;
use reqwest::header::HeaderMap;

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Checksum {
    Sha256([u8; 32]),
    Crc(CrcAlgorithm, u64),
}

/// What S3 calls them; it sends the one that the object was stored with.
const S3_CRCS: [(&str, CrcAlgorithm); 3] = [
    ("x-amz-checksum-crc64nvme", CrcAlgorithm::Crc64Nvme),
    ("x-amz-checksum-crc32c", CrcAlgorithm::Crc32Iscsi),
    ("x-amz-checksum-crc32", CrcAlgorithm::Crc32IsoHdlc),
];

impl Checksum {
    pub fn of_headers(headers: &HeaderMap) -> Option<Self> {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
        // An object stored in parts may have the checksum of its parts' checksums.
        if text("x-amz-checksum-type").is_none_or(|kind| kind == "FULL_OBJECT") {
            if let Some(sha256) = text("x-amz-checksum-sha256").and_then(decode::<32>) {
                return Some(Self::Sha256(sha256));
            }
            let crc = |(name, algorithm)| Some(Self::Crc(algorithm, crc_value(text(name)?)?));
            if let Some(found) = S3_CRCS.into_iter().find_map(crc) {
                return Some(found);
            }
        }
        // Google's is of what is stored, which may be compressed where what is sent is not.
        if text("x-goog-stored-content-encoding").is_some_and(|coding| coding != "identity") {
            return None;
        }
        let crc32c = headers.get_all("x-goog-hash").iter().find_map(|value| {
            value.to_str().ok()?.split(',').find_map(|part| part.trim().strip_prefix("crc32c="))
        });
        Some(Self::Crc(CrcAlgorithm::Crc32Iscsi, crc_value(crc32c?)?))
    }
}

/// Base64 of 4 or 8 bytes, the highest first.
fn crc_value(text: &str) -> Option<u64> {
    decode::<4>(text)
        .map(|bytes| u32::from_be_bytes(bytes).into())
        .or_else(|| decode::<8>(text).map(u64::from_be_bytes))
}

fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    BASE64_STANDARD.decode(text).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&'static str, &'static str)]) -> Option<Checksum> {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, value.parse().unwrap());
        }
        Checksum::of_headers(&headers)
    }

    // All of "123456789", the text that CRCs are compared by.
    #[test]
    fn what_stores_send_is_understood() {
        let crc =
            |algorithm| Some(Checksum::Crc(algorithm, crc_fast::checksum(algorithm, b"123456789")));
        assert_eq!(of(&[("x-amz-checksum-crc32", "y/Q5Jg==")]), crc(CrcAlgorithm::Crc32IsoHdlc));
        assert_eq!(of(&[("x-amz-checksum-crc32c", "4waSgw==")]), crc(CrcAlgorithm::Crc32Iscsi));
        assert_eq!(
            of(&[("x-amz-checksum-crc64nvme", "rosUhgp5mIg=")]),
            crc(CrcAlgorithm::Crc64Nvme)
        );
        assert_eq!(
            of(&[
                ("x-goog-hash", "crc32c=4waSgw=="),
                ("x-goog-hash", "md5=JfnnlDI7RThiF9RgfG2JNw==")
            ]),
            crc(CrcAlgorithm::Crc32Iscsi)
        );
        assert_eq!(
            of(&[("x-goog-hash", "md5=x==, crc32c=4waSgw==")]),
            crc(CrcAlgorithm::Crc32Iscsi)
        );
    }

    #[test]
    fn what_is_of_something_else_is_not_taken() {
        let crc32 = ("x-amz-checksum-crc32", "y/Q5Jg==");
        assert_eq!(of(&[crc32, ("x-amz-checksum-type", "COMPOSITE")]), None);
        assert_eq!(of(&[("x-amz-checksum-crc32", "y/Q5Jg==-3")]), None);
        assert_eq!(of(&[("x-amz-checksum-sha256", "y/Q5Jg==")]), None);
        let gzip = ("x-goog-stored-content-encoding", "gzip");
        assert_eq!(of(&[("x-goog-hash", "crc32c=4waSgw=="), gzip]), None);
        assert_eq!(of(&[]), None);
    }
}

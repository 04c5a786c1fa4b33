//! Which of the store's files is odd: it says that one is, and not always which.

use std::fs;
use std::io;
use std::path::Path;

/// Bytes behind what the sum is of: the sum, and in a snapshot the length before it.
const CONF_END: usize = 4;
const SNAP_END: usize = 12;

/// Names the small file whose sum does not match; else it is in the large one.
pub(super) fn odd_file(dir: &Path) -> String {
    let inside = dir.join("sled");
    match first_odd(&inside) {
        Ok(Some((path, bytes))) => format!("{path}: its {bytes} bytes have another sum"),
        Ok(None) => inside.join("db").display().to_string(),
        Err(error) => format!("{}: {error}", inside.display()),
    }
}

fn first_odd(inside: &Path) -> io::Result<Option<(String, usize)>> {
    for entry in fs::read_dir(inside)? {
        let path = entry?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let end = match name.as_str() {
            "conf" => CONF_END,
            name if name.starts_with("snap.") => SNAP_END,
            _ => continue,
        };
        let bytes = fs::read(&path)?;
        let written = bytes.last_chunk().map(|sum| u32::from_le_bytes(*sum));
        let body = &bytes[..bytes.len().saturating_sub(end)];
        if written != Some(crc32(body)) {
            return Ok(Some((path.display().to_string(), bytes.len())));
        }
    }
    Ok(None)
}

/// CRC-32 as in zip files: the store's own sum, which is not the one that we use.
fn crc32(bytes: &[u8]) -> u32 {
    const POLYNOMIAL: u32 = 0xedb8_8320;
    let mut sum = !0u32;
    for byte in bytes {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            sum = (sum >> 1) ^ (POLYNOMIAL & (sum & 1).wrapping_neg());
        }
    }
    !sum
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_sum_is_the_one_of_zip_files() {
        assert_eq!(super::crc32(b"123456789"), 0xcbf4_3926);
    }
}

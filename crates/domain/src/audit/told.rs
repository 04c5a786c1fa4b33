//! What a record says of many things at once.

/// The longest line of it.
const BYTES_MAX: usize = 4_000;

/// As many of these words as fit into one line, and how many more there are.
pub(crate) fn told(words: impl ExactSizeIterator<Item = String>) -> String {
    let all = words.len();
    let mut told = String::new();
    for (i, word) in words.enumerate() {
        let parted = if i == 0 { "" } else { "; " };
        if told.len() + parted.len() + word.len() > BYTES_MAX {
            told.push_str(&format!("{parted}{} more", all - i));
            break;
        }
        told.push_str(parted);
        told.push_str(&word);
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(all: usize, bytes: usize) -> String {
        told(vec!["x".repeat(bytes); all].into_iter())
    }

    #[test]
    fn what_does_not_fit_is_counted() {
        assert_eq!(words(0, 5), "");
        assert_eq!(words(3, 1), "x; x; x");
        assert_eq!(words(1, BYTES_MAX).len(), BYTES_MAX);
        assert_eq!(words(2, BYTES_MAX), format!("{}; 1 more", "x".repeat(BYTES_MAX)));
        assert_eq!(words(3, BYTES_MAX + 1), "3 more");
        // 800 words of 3 bytes, each but the first behind 2 more.
        let told = words(900, 3);
        assert!(told.ends_with("xxx; 100 more"), "{}", &told[told.len() - 20..]);
        assert_eq!(told.matches("xxx").count(), 800);
    }
}

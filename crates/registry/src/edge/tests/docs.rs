use reeve_proto::error::{code, from_word, word};
use reeve_proto::v1::ErrorReason;

const ERRORS: &str = include_str!("../../../../../docs/errors.md");

/// Every reason of the descriptor, found by its number.
fn reasons() -> impl Iterator<Item = ErrorReason> {
    (1..1_000).filter_map(|number| ErrorReason::try_from(number).ok())
}

#[test]
fn every_reason_is_explained_with_its_code() {
    let mut missing = Vec::new();
    for reason in reasons() {
        let heading = format!("### {}\n", word(reason));
        let code = format!("`{}`", screaming(&format!("{:?}", code(reason))));
        let text = ERRORS
            .split_once(&heading)
            .map(|(_, rest)| rest.split("\n### ").next().unwrap_or(rest));
        if text.is_none_or(|text| !text.contains(&code)) {
            missing.push(format!("{} with {code}", word(reason)));
        }
    }
    assert!(missing.is_empty(), "docs/errors.md lacks {missing:#?}");
}

#[test]
fn nothing_is_explained_that_no_longer_exists() {
    let headings = ERRORS.lines().filter_map(|line| line.strip_prefix("### "));
    let gone: Vec<_> = headings.filter(|word| from_word(word).is_none()).collect();
    assert!(
        gone.is_empty(),
        "docs/errors.md explains {gone:?}, which no call answers"
    );
    assert!(reasons().count() > 30);
}

/// `NotFound` as gRPC writes it: `NOT_FOUND`.
fn screaming(camel: &str) -> String {
    let mut out = String::new();
    for (i, c) in camel.char_indices() {
        if c.is_ascii_uppercase() && i > 0 {
            out.push('_');
        }
        out.push(c.to_ascii_uppercase());
    }
    out
}

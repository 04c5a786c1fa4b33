//! Texts that people write for people: lines, labels and settings.

use std::collections::{BTreeMap, HashMap};

use prost_types::value::Kind;
use reeve_domain::tenant::{LABELS_MAX, Setting};

use crate::convert::BadField;

const KEY_BYTES_MAX: usize = 63;
const LABEL_BYTES_MAX: usize = 255;
const SETTING_BYTES_MAX: usize = 1024;

/// Reads one line: what would change a screen or a log is turned away.
pub fn line(field: &str, text: &str, bytes_max: usize) -> Result<(), BadField> {
    match text.len() <= bytes_max && is_plain(text) {
        true => Ok(()),
        false => Err(BadField::new(
            field,
            format!("is one line of at most {bytes_max} bytes, without control characters"),
        )),
    }
}

/// Without control characters, those among them that turn the direction of what stands behind.
fn is_plain(text: &str) -> bool {
    let is_odd = |c: char| c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    !text.chars().any(is_odd)
}

/// Reads labels.
pub fn labels_from_wire(
    field: &str,
    wire: &HashMap<String, String>,
) -> Result<BTreeMap<String, String>, BadField> {
    check_count(field, wire.len())?;
    let fits =
        |(key, value): (&String, &String)| is_key(key) && value.len() <= LABEL_BYTES_MAX && is_plain(value);
    if !wire.iter().all(fits) {
        let why = format!(
            "keys have 1 to {KEY_BYTES_MAX} bytes, values at most {LABEL_BYTES_MAX}, without control characters"
        );
        return Err(BadField::new(field, why));
    }
    Ok(wire.clone().into_iter().collect())
}

/// Reads settings; structures and fractions have no place in them.
pub fn settings_from_wire(
    field: &str,
    wire: Option<&prost_types::Struct>,
) -> Result<BTreeMap<String, Setting>, BadField> {
    // Beyond this a double no longer holds every whole number.
    const WHOLE_MAX: f64 = 9_007_199_254_740_992.0;
    check_count(field, wire.map_or(0, |wire| wire.fields.len()))?;
    let mut settings = BTreeMap::new();
    for (key, value) in wire.into_iter().flat_map(|s| &s.fields) {
        if !is_key(key) {
            let why = format!("keys have 1 to {KEY_BYTES_MAX} bytes, without control characters");
            return Err(BadField::new(field, why));
        }
        let setting = match &value.kind {
            Some(Kind::BoolValue(b)) => Setting::Bool(*b),
            Some(Kind::NumberValue(n)) if n.fract() == 0.0 && n.abs() <= WHOLE_MAX => Setting::Int(*n as i64),
            Some(Kind::StringValue(text)) if text.len() <= SETTING_BYTES_MAX && !text.contains('\0') => {
                Setting::Text(text.clone())
            }
            _ => {
                let why = format!(
                    "must be a boolean, a whole number or a text of at most {SETTING_BYTES_MAX} bytes without NUL"
                );
                return Err(BadField::new(format!("{field}.{key}"), why));
            }
        };
        settings.insert(key.clone(), setting);
    }
    Ok(settings)
}

fn check_count(field: &str, got: usize) -> Result<(), BadField> {
    match got <= LABELS_MAX {
        true => Ok(()),
        false => Err(BadField::new(
            field,
            format!("has {got}; at most {LABELS_MAX} are allowed"),
        )),
    }
}

fn is_key(key: &str) -> bool {
    (1..=KEY_BYTES_MAX).contains(&key.len()) && is_plain(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_what_any_language_writes_and_nothing_that_moves_a_screen() {
        for good in ["", "Bệnh viện Chợ Rẫy", "مستشفى", "a\u{200c}b"] {
            assert_eq!(line("name", good, 40), Ok(()));
        }
        for bad in [
            "a\nb",
            "a\0",
            "\u{1b}[2J",
            "a\u{202e}b",
            "a\u{2066}b",
            &"x".repeat(41),
        ] {
            assert_eq!(line("name", bad, 40).unwrap_err().field, "name");
        }
    }
}

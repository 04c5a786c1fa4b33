//! Whether what was seen is what was expected, in every part that the expectation names.
//!
//! ```text
//! null            absent, or null
//! {"$any": true}  there, whatever it is
//! {"$has": text}  a text with it, or a list of texts one of which has it
//! {"$least": n}   a number, or a number in a text, from n on
//! {"$holds": []}  a list with all of these, in any order
//! ```
//! An object must hold what is named and may hold more; a list is as long as expected.

use serde_json::Value;

/// Every part that is not as expected, by its path.
pub(crate) fn differences(expected: &Value, seen: Option<&Value>) -> Vec<String> {
    let mut found = Vec::new();
    compare("", expected, seen.filter(|seen| !seen.is_null()), &mut found);
    found
}

fn compare(path: &str, expected: &Value, seen: Option<&Value>, found: &mut Vec<String>) {
    let is_met = match (expected, seen) {
        (Value::Null, None) => true,
        (Value::Object(parts), Some(seen)) if parts.keys().any(|key| key.starts_with('$')) => {
            parts.iter().all(|(rule, wanted)| keeps(rule, wanted, seen))
        }
        (Value::Object(parts), Some(Value::Object(seen))) => {
            for (key, part) in parts {
                let there = seen.get(key).filter(|seen| !seen.is_null());
                compare(&format!("{path}.{key}"), part, there, found);
            }
            true
        }
        (Value::Array(parts), Some(Value::Array(seen))) if parts.len() == seen.len() => {
            for (i, (part, seen)) in parts.iter().zip(seen).enumerate() {
                compare(&format!("{path}[{i}]"), part, Some(seen), found);
            }
            true
        }
        (expected, Some(seen)) => expected == seen,
        _ => false,
    };
    if !is_met {
        let seen = seen.unwrap_or(&Value::Null);
        found.push(format!("{path}: {expected} was expected, {seen} was seen"));
    }
}

fn keeps(rule: &str, wanted: &Value, seen: &Value) -> bool {
    match (rule, wanted, seen) {
        ("$any", _, _) => true,
        ("$has", Value::String(part), Value::String(text)) => text.contains(part.as_str()),
        ("$has", _, Value::Array(all)) => all.iter().any(|one| keeps(rule, wanted, one)),
        ("$least", _, _) => number(seen) >= number(wanted) && number(wanted).is_some(),
        ("$holds", Value::Array(parts), Value::Array(all)) => parts
            .iter()
            .all(|part| all.iter().any(|one| differences(part, Some(one)).is_empty())),
        _ => false,
    }
}

/// JSON writes numbers of 64 bits as texts.
fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn meets(expected: Value, seen: Value) -> bool {
        differences(&expected, Some(&seen)).is_empty()
    }

    #[test]
    fn what_is_named_must_be_there_and_more_may() {
        let seen = json!({"a": {"b": "1", "c": 2}, "d": [1, 2], "e": null});
        assert!(meets(
            json!({"a": {"b": "1"}, "d": [1, 2], "e": null, "f": null}),
            seen.clone()
        ));
        assert_eq!(
            differences(&json!({"a": {"b": "2"}, "d": [1], "c": null}), Some(&seen)),
            [
                ".a.b: \"2\" was expected, \"1\" was seen",
                ".d: [1] was expected, [1,2] was seen"
            ]
        );
        assert!(
            !meets(json!({"a": null}), seen.clone()),
            "what must not be there is"
        );
        assert!(
            !meets(json!({"a": {"b": 1}}), seen.clone()),
            "a text is no number"
        );
        assert!(!meets(json!({"g": {"h": 1}}), seen), "a part of nothing");
        assert!(!differences(&json!({}), None).is_empty());
    }

    #[test]
    fn rules_hold_for_what_is_known_at_run_time() {
        for (expected, good, bad) in [
            (json!({"$any": true}), json!(""), json!(null)),
            (json!({"$has": "ver"}), json!("verify"), json!("full")),
            (json!({"$has": "ver"}), json!(["full", "verify"]), json!(["full"])),
            (json!({"$least": 3}), json!("3"), json!("2")),
            (json!({"$least": "3"}), json!(4), json!("x")),
            (json!({"$holds": [1, 2]}), json!([2, 3, 1]), json!([2, 3])),
        ] {
            assert!(
                differences(&expected, Some(&good)).is_empty(),
                "{expected} {good}"
            );
            assert!(!differences(&expected, Some(&bad)).is_empty(), "{expected} {bad}");
        }
        assert!(!meets(json!({"$most": 1}), json!(1)), "a rule that nobody knows");
        assert!(!meets(json!({"$least": "x"}), json!("y")), "no bound");
    }
}

//! The table of cases, with what is known only at run time filled in.

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::matching::differences;

const TABLE: &str = include_str!("../contract.json");

/// One question, as proto3's JSON writes it, and what must come of it.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    pub name: String,
    /// The identity that asks.
    #[serde(rename = "as", default = "service")]
    pub identity: String,
    /// The method of the resolver's service.
    #[serde(default = "resolve")]
    pub call: String,
    pub request: Value,
    expect: Expect,
}

/// An answer, or a refusal with all its fields that cannot be read; the rest by the rules of `matching`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Expect {
    code: String,
    #[serde(default)]
    reason: Option<String>,
    #[serde(default)]
    fields: Vec<String>,
    #[serde(default)]
    metadata: Map<String, Value>,
    #[serde(default = "whatever")]
    message: Value,
    #[serde(default)]
    answer: Map<String, Value>,
}

fn service() -> String {
    "ehr".to_owned()
}

fn resolve() -> String {
    "Resolve".to_owned()
}

fn whatever() -> Value {
    serde_json::json!({"$any": true})
}

/// All cases. `known` has a value for each `${name}` in them.
pub fn cases(known: &Map<String, Value>) -> Result<Vec<Case>> {
    read(TABLE, known)
}

fn read(text: &str, known: &Map<String, Value>) -> Result<Vec<Case>> {
    let table = filled(&serde_json::from_str(text)?, known)?;
    let cases: Vec<Case> = serde_json::from_value(table)?;
    for (i, case) in cases.iter().enumerate() {
        let is_twice = cases.iter().take(i).any(|other| other.name == case.name);
        ensure!(!is_twice, "there are two cases {:?}", case.name);
    }
    Ok(cases)
}

fn filled(value: &Value, known: &Map<String, Value>) -> Result<Value> {
    Ok(match value {
        Value::String(text) => filled_text(text, known)?,
        Value::Array(all) => Value::Array(all.iter().map(|one| filled(one, known)).collect::<Result<_>>()?),
        Value::Object(parts) => {
            let parts = parts
                .iter()
                .map(|(key, part)| Ok((key.clone(), filled(part, known)?)));
            Value::Object(parts.collect::<Result<_>>()?)
        }
        other => other.clone(),
    })
}

/// A text that is a name alone becomes its value, of whatever kind; in a longer text it is written out.
fn filled_text(text: &str, known: &Map<String, Value>) -> Result<Value> {
    let Some((before, rest)) = text.split_once("${") else {
        return Ok(text.into());
    };
    let (name, after) = rest
        .split_once('}')
        .with_context(|| format!("{text:?} has no end"))?;
    let value = known
        .get(name)
        .with_context(|| format!("nobody knows {name:?}"))?;
    if before.is_empty() && after.is_empty() {
        return Ok(value.clone());
    }
    let Value::String(value) = value else {
        bail!("{name} is no text, and stands in {text:?}");
    };
    Ok(format!("{before}{value}{after}").into())
}

/// What of an answer is not as the case says; `seen` is what a program told of it.
pub fn judge(case: &Case, seen: &Value) -> Vec<String> {
    let expect = &case.expect;
    let mut expected = serde_json::json!({"code": expect.code});
    match expect.code.as_str() {
        "OK" => expected["answer"] = expect.answer.clone().into(),
        _ => {
            expected["reason"] = expect.reason.clone().into();
            expected["fields"] = expect.fields.clone().into();
            expected["metadata"] = expect.metadata.clone().into();
            expected["message"] = expect.message.clone();
        }
    }
    differences(&expected, Some(seen))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn known() -> Map<String, Value> {
        let Value::Object(known) = json!({"id": "t_1", "port": 5432}) else {
            unreachable!()
        };
        known
    }

    #[test]
    fn a_case_is_read_with_what_is_known() {
        let text = r#"[{"name": "a", "request": {"claim": {"key": "${id}"}},
            "expect": {"code": "OK", "answer": {"role": "${id}_a", "port": "${port}"}}}]"#;
        let case = &read(text, &known()).unwrap()[0];
        assert_eq!((case.identity.as_str(), case.call.as_str()), ("ehr", "Resolve"));
        assert_eq!(case.request, json!({"claim": {"key": "t_1"}}));
        let seen = json!({"code": "OK", "answer": {"role": "t_1_a", "port": 5432, "more": 1}});
        assert!(judge(case, &seen).is_empty());
        let other = json!({"code": "OK", "answer": {"role": "t_1_b", "port": 5432}});
        assert_eq!(judge(case, &other).len(), 1);
        assert_eq!(judge(case, &json!({"code": "NOT_FOUND"})).len(), 2);
    }

    #[test]
    fn a_refusal_has_its_reason_and_every_field_that_is_named() {
        let text = r#"[{"name": "a", "request": {}, "expect": {"code": "NOT_FOUND", "reason": "X"}}]"#;
        let case = &read(text, &known()).unwrap()[0];
        let seen = |reason: &str, fields: Value| json!({"code": "NOT_FOUND", "reason": reason, "fields": fields, "metadata": {}, "message": "m"});
        assert!(judge(case, &seen("X", json!([]))).is_empty());
        assert_eq!(judge(case, &seen("Y", json!([]))).len(), 1);
        assert_eq!(judge(case, &seen("X", json!(["claim"]))).len(), 1);
    }

    #[test]
    fn a_table_that_says_what_nobody_reads_is_refused() {
        for text in [
            r#"[{"name": "a", "request": {"claim": "${nobody}"}, "expect": {"code": "OK"}}]"#,
            r#"[{"name": "a", "request": {}, "expect": {"code": "OK", "resaon": "X"}}]"#,
            r#"[{"name": "a", "request": {}, "expect": {"code": "OK"}}, {"name": "a", "request": {}, "expect": {"code": "OK"}}]"#,
        ] {
            assert!(read(text, &known()).is_err(), "{text}");
        }
    }
}

//! What a hostile or careless caller puts into a field, by what the field is.

use anyhow::{Context, Result};
use prost_reflect::{DynamicMessage, FieldDescriptor, MapKey, ReflectMessage, Value};
use reeve_proto::error::Reason;

/// What a field is: which values are legal there, and how all others are refused.
#[derive(Clone)]
pub enum Kind {
    /// A text, and whether it may be there. What may not is `BAD_FIELD`.
    Text(fn(&str) -> bool),
    /// The same, refused with a reason of its own.
    Word(fn(&str) -> bool, Reason),
    /// A whole number, and whether it may be there.
    Number(fn(u64) -> bool),
    /// The same, refused with a reason of its own.
    Count(fn(u64) -> bool, Reason),
    /// Both values mean something.
    Flag,
    /// One of the names; whether nothing may be said.
    Enum(bool),
    /// Seconds and nanoseconds, and whether they may be there.
    Length(fn(i64, i32) -> bool),
    /// How many there may be of it.
    Many(usize),
    Labels,
    Settings,
    /// A message; if it is required, the field that is named when it is missing.
    Part(Option<&'static str>),
    /// Nobody reads it from a caller.
    Unread,
    /// As the kind says, but what is legal is not sent: it would change something.
    OnlyBad(&'static Kind),
}

/// What must come of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expect {
    /// `BAD_FIELD`, naming this field.
    Field(String),
    Reason(Reason),
    /// The value is legal: what comes of the request as it is.
    Legal,
}

/// One value in one field.
pub struct Row {
    pub name: String,
    pub message: DynamicMessage,
    pub expect: Expect,
    /// The answer is waited for: it cannot come before the deadline.
    pub is_slow: bool,
}

/// Texts that are of no use to anybody who means well; some are legal somewhere.
pub fn texts() -> Vec<(&'static str, String)> {
    vec![
        ("empty", String::new()),
        ("long", "x".repeat(300)),
        ("huge", "x".repeat(60_000)),
        ("nul", "a\0b".to_owned()),
        ("two lines", "a\r\nX-Tenant: b".to_owned()),
        ("escape", "a\u{1b}[31mb".to_owned()),
        ("right to left", "a\u{202e}b".to_owned()),
        ("zero width", "a\u{200b}b".to_owned()),
        ("path", "../../etc/passwd".to_owned()),
        ("quotes", "a'; DROP TABLE tenants; --".to_owned()),
        ("double quotes", "\"a\" OR \"\"=\"\"".to_owned()),
        ("spaces", " a ".to_owned()),
        ("upper", "ABC".to_owned()),
        ("format", "%s%n{}${x}`id`".to_owned()),
        ("letters of the world", "Chợ Rẫy 患者".to_owned()),
        ("lengthens", "İ".repeat(40)),
    ]
}

/// All rows of one field.
pub fn rows(base: &DynamicMessage, path: &str, kind: &Kind) -> Result<Vec<Row>> {
    let put =
        |what: &str, expect: Expect, change: &dyn Fn(&mut DynamicMessage) -> Result<()>| -> Result<Row> {
            let mut message = base.clone();
            change(&mut message).with_context(|| format!("{path}: {what}"))?;
            Ok(Row {
                name: format!("{path}: {what}"),
                message,
                expect,
                is_slow: false,
            })
        };
    let named = || Expect::Field(path.replace("[]", "[0]"));
    let judged = |legal: bool, otherwise: Expect| match legal {
        true => Expect::Legal,
        false => otherwise,
    };
    let set = |value: Value| move |message: &mut DynamicMessage| set(message, path, value.clone());
    let mut rows = Vec::new();
    match kind {
        Kind::Text(_) | Kind::Word(..) => {
            let (is_legal, otherwise) = match kind {
                Kind::Word(is_legal, reason) => (is_legal, Expect::Reason(*reason)),
                Kind::Text(is_legal) => (is_legal, named()),
                _ => unreachable!("both texts are here"),
            };
            for (what, text) in texts() {
                let expect = judged(is_legal(&text), otherwise.clone());
                rows.push(put(what, expect, &set(Value::String(text)))?);
            }
        }
        Kind::Number(_) | Kind::Count(..) => {
            let (is_legal, otherwise) = match kind {
                Kind::Count(is_legal, reason) => (is_legal, Expect::Reason(*reason)),
                Kind::Number(is_legal) => (is_legal, named()),
                _ => unreachable!("both numbers are here"),
            };
            let is_small = matches!(leaf(base, path)?.kind(), prost_reflect::Kind::Uint32);
            // One that the fleet has not reached is waited for.
            let is_slow = otherwise == Expect::Reason(Reason::NotCaughtUp);
            for number in [0, 1, u64::from(u32::MAX), u64::MAX] {
                if (is_small && number == u64::MAX) || (is_slow && number == u64::from(u32::MAX)) {
                    continue;
                }
                let value = match is_small {
                    true => Value::U32(number as u32),
                    false => Value::U64(number),
                };
                let mut row = put(
                    &number.to_string(),
                    judged(is_legal(number), otherwise.clone()),
                    &set(value),
                )?;
                row.is_slow = is_slow;
                rows.push(row);
            }
        }
        Kind::Enum(zero) => {
            for number in [0, 99, -1, i32::MIN] {
                let expect = judged(number == 0 && *zero, named());
                rows.push(put(&number.to_string(), expect, &set(Value::EnumNumber(number)))?);
            }
        }
        Kind::Length(is_legal) => {
            for (seconds, nanos) in [
                (0, 0),
                (0, 1),
                (-1, 0),
                (0, -1),
                (1, -1),
                (0, 2_000_000_000),
                (i64::MAX, 999_999_999),
                (i64::MIN, 0),
            ] {
                let expect = judged(is_legal(seconds, nanos), named());
                let length = length(base, path, seconds, nanos)?;
                let what = format!("{seconds} s {nanos} ns");
                rows.push(put(&what, expect, &set(length))?);
            }
        }
        Kind::Many(most) => {
            let expect = named();
            rows.push(put("one too many", expect, &|message| {
                repeat(message, path, most + 1)
            })?);
        }
        Kind::Labels => {
            for (what, key, value, count) in [
                ("key empty", String::new(), "v".to_owned(), 1),
                ("key too long", "k".repeat(64), "v".to_owned(), 1),
                (
                    "key with a control character",
                    "a\nb".to_owned(),
                    "v".to_owned(),
                    1,
                ),
                ("value too long", "k".to_owned(), "v".repeat(256), 1),
                ("value with NUL", "k".to_owned(), "a\0b".to_owned(), 1),
                ("too many", "k".to_owned(), "v".to_owned(), 65),
            ] {
                let labels = (0..count).map(|i| {
                    let key = match count {
                        1 => key.clone(),
                        _ => format!("{key}{i}"),
                    };
                    (MapKey::String(key), Value::String(value.clone()))
                });
                let labels = Value::Map(labels.collect());
                let path = path.trim_end_matches("{}");
                let change = |message: &mut DynamicMessage| self::set(message, path, labels.clone());
                rows.push(put(what, Expect::Field(path.to_owned()), &change)?);
            }
        }
        Kind::Settings => {
            for (what, json, named) in settings() {
                let field = leaf(base, path)?;
                let prost_reflect::Kind::Message(kind) = field.kind() else {
                    anyhow::bail!("{path} is no message");
                };
                let value = Value::Message(DynamicMessage::deserialize(kind, json)?);
                let expect = Expect::Field(format!("{path}{named}"));
                rows.push(put(what, expect, &set(value))?);
            }
        }
        Kind::Part(required) => {
            let expect = match required {
                Some(field) => Expect::Field((*field).to_owned()),
                None => Expect::Legal,
            };
            rows.push(put("left out", expect, &|message| clear(message, path))?);
        }
        Kind::OnlyBad(kind) => {
            rows = self::rows(base, path, kind)?;
            rows.retain(|row| row.expect != Expect::Legal);
        }
        Kind::Flag | Kind::Unread => {}
    }
    Ok(rows)
}

fn settings() -> Vec<(&'static str, serde_json::Value, &'static str)> {
    let many: serde_json::Map<_, _> = (0..65).map(|i| (format!("k{i}"), i.into())).collect();
    vec![
        ("half a number", serde_json::json!({"beds": 0.5}), ".beds"),
        (
            "a number beyond all whole ones",
            serde_json::json!({"beds": 1e300}),
            ".beds",
        ),
        ("nothing", serde_json::json!({"beds": null}), ".beds"),
        ("a list", serde_json::json!({"beds": [1]}), ".beds"),
        ("an object", serde_json::json!({"beds": {"a": 1}}), ".beds"),
        (
            "a text too long",
            serde_json::json!({"beds": "x".repeat(1025)}),
            ".beds",
        ),
        ("a text with NUL", serde_json::json!({"beds": "a\u{0}b"}), ".beds"),
        ("a key that is empty", serde_json::json!({"": 1}), ""),
        ("a key too long", serde_json::json!({"k".repeat(64): 1}), ""),
        (
            "a key with a control character",
            serde_json::json!({"a\nb": 1}),
            "",
        ),
        ("too many", many.into(), ""),
    ]
}

fn length(base: &DynamicMessage, path: &str, seconds: i64, nanos: i32) -> Result<Value> {
    let prost_reflect::Kind::Message(kind) = leaf(base, path)?.kind() else {
        anyhow::bail!("{path} is no length");
    };
    let mut length = DynamicMessage::new(kind);
    length.set_field_by_name("seconds", Value::I64(seconds));
    length.set_field_by_name("nanos", Value::I32(nanos));
    Ok(Value::Message(length))
}

/// Puts a value where a path leads; the first of a list is made if there is none.
fn set(message: &mut DynamicMessage, path: &str, value: Value) -> Result<()> {
    let (parent, last) = parent(message, path)?;
    let field = field(parent, last.trim_end_matches("[]"))?;
    match last.ends_with("[]") {
        true => match parent.get_field_mut(&field).as_list_mut() {
            Some(list) if !list.is_empty() => list[0] = value,
            Some(list) => list.push(value),
            None => anyhow::bail!("{path} is no list"),
        },
        false => parent.set_field(&field, value),
    }
    Ok(())
}

fn clear(message: &mut DynamicMessage, path: &str) -> Result<()> {
    let (parent, last) = parent(message, path)?;
    let field = field(parent, last)?;
    parent.clear_field(&field);
    Ok(())
}

fn repeat(message: &mut DynamicMessage, path: &str, count: usize) -> Result<()> {
    let (parent, last) = parent(message, path)?;
    let field = field(parent, last)?;
    let known = parent
        .get_field(&field)
        .as_list()
        .and_then(|list| list.first().cloned());
    let first = match (known, field.kind()) {
        (Some(first), _) => first,
        (None, prost_reflect::Kind::Message(kind)) => Value::Message(DynamicMessage::new(kind)),
        (None, _) => anyhow::bail!("{path} has none to be repeated"),
    };
    parent.set_field(&field, Value::List(vec![first; count]));
    Ok(())
}

/// The message that a path's last field stands in, made on the way.
fn parent<'a>(mut at: &'a mut DynamicMessage, path: &'a str) -> Result<(&'a mut DynamicMessage, &'a str)> {
    let (before, last) = path.rsplit_once('.').unwrap_or(("", path));
    for part in before.split('.').filter(|part| !part.is_empty()) {
        let is_list = part.ends_with("[]");
        let field = field(at, part.trim_end_matches("[]"))?;
        let value = at.get_field_mut(&field);
        let inner = match is_list {
            true => {
                let list = value.as_list_mut().context("no list")?;
                if list.is_empty() {
                    let prost_reflect::Kind::Message(kind) = field.kind() else {
                        anyhow::bail!("{part} holds no messages");
                    };
                    list.push(Value::Message(DynamicMessage::new(kind)));
                }
                &mut list[0]
            }
            false => value,
        };
        at = inner
            .as_message_mut()
            .with_context(|| format!("{part} is no message"))?;
    }
    Ok((at, last))
}

fn leaf(base: &DynamicMessage, path: &str) -> Result<FieldDescriptor> {
    let mut copy = base.clone();
    let (parent, last) = parent(&mut copy, path)?;
    field(parent, last.trim_end_matches("[]"))
}

fn field(message: &DynamicMessage, name: &str) -> Result<FieldDescriptor> {
    let found = message.descriptor().get_field_by_name(name);
    found.with_context(|| format!("{} has no {name}", message.descriptor().name()))
}

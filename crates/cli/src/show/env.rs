//! `-o env`: one thing as variables that a shell reads with `.` or `eval`, whatever stands in it.
//!
//! ```text
//! {"slug": "a", "write": {"port": 5432}, "read": [{"host": "h"}], "in": ["vn", "eu"]}
//!   ─►  IN='vn,eu'  READ_0_HOST=h  SLUG=a  WRITE_PORT=5432
//! ```

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::Value;

use crate::fail::Failure;

/// `NAME=value`, one a line; a value with line ends goes over several.
pub fn env(result: &impl Serialize) -> Result<String, Failure> {
    let refused = |why: String| Failure::error("the result cannot be told to a shell", why);
    let value = serde_json::to_value(result).map_err(|error| refused(error.to_string()))?;
    let mut found = Variables::default();
    found.take("", &value);
    let line = |(name, value): &(String, String)| match shlex::try_quote(value) {
        Ok(quoted) => Ok(format!("{name}={quoted}")),
        Err(_) => Err(refused(format!("{name} holds a zero byte; use -o json"))),
    };
    let lines: Result<Vec<String>, Failure> = found.all.iter().map(line).collect();
    Ok(lines?.join("\n"))
}

#[derive(Default)]
struct Variables {
    all: Vec<(String, String)>,
    names: BTreeSet<String>,
}

impl Variables {
    fn take(&mut self, name: &str, value: &Value) {
        match value {
            Value::Null => self.add(name, String::new()),
            Value::Bool(_) | Value::Number(_) => self.add(name, value.to_string()),
            Value::String(text) => self.add(name, text.clone()),
            Value::Array(all) if all.iter().any(|one| one.is_object() || one.is_array()) => {
                for (i, one) in all.iter().enumerate() {
                    self.take(&below(name, &i.to_string()), one);
                }
            }
            Value::Array(all) => {
                let text = |one: &Value| one.as_str().map_or_else(|| one.to_string(), str::to_owned);
                self.add(name, all.iter().map(text).collect::<Vec<_>>().join(","));
            }
            Value::Object(fields) => {
                for (key, one) in fields {
                    self.take(&below(name, key), one);
                }
            }
        }
    }

    /// Two labels may differ only in letters that no variable's name can have: both are kept.
    fn add(&mut self, name: &str, value: String) {
        let mut free = name.to_owned();
        let mut n = 2;
        while !self.names.insert(free.clone()) {
            free = format!("{name}_{n}");
            n += 1;
        }
        self.all.push((free, value));
    }
}

/// A name that every shell takes, and that means nothing to one: letters, digits and `_`, and a letter first.
fn below(above: &str, key: &str) -> String {
    let letter = |c: char| match c.is_ascii_alphanumeric() {
        true => c.to_ascii_uppercase(),
        false => '_',
    };
    let key: String = key.chars().map(letter).collect();
    match above.is_empty() {
        true if key.starts_with(|c: char| c.is_ascii_alphabetic()) => key,
        true => format!("X_{key}"),
        false => format!("{above}_{key}"),
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;
    use serde_json::json;

    /// What the variable is once a real shell has read all of it.
    fn sourced(text: &str, name: &str, dir: &std::path::Path) -> String {
        let file = dir.join("env");
        std::fs::write(&file, text).unwrap();
        let script = format!("set -eu; . ./env; printf %s \"${name}\"");
        let ran = Command::new("/bin/sh")
            .args(["-c", &script])
            .current_dir(dir)
            .output()
            .unwrap();
        assert!(
            ran.status.success(),
            "{}\n{text}",
            String::from_utf8_lossy(&ran.stderr)
        );
        String::from_utf8(ran.stdout).unwrap()
    }

    #[test]
    fn a_shell_reads_what_stands_in_it_and_does_none_of_it() {
        let dir = tempfile::tempdir().unwrap();
        let hostile = [
            "$(touch owned)",
            "`touch owned`",
            "'; touch owned; '",
            "\"; touch owned; \"",
            "a\ntouch owned\nb",
            "x' $(touch owned) \"y\" \\",
            "\\'$(touch owned)\\'",
            "${IFS}&touch owned&",
            "~ * ? [a] {a,b} # ! ^ | > owned < &&",
            "-n",
            " two  spaces ",
            "\ttab\r",
            "",
            "vi\u{1ec7}t \u{202e}",
            "\u{1b}[31m",
            "\n",
        ];
        for text in hostile {
            let env = env(&json!({"before": 1, "value": text, "z_behind": 2})).unwrap();
            assert_eq!(sourced(&env, "VALUE", dir.path()), text, "{env}");
            assert_eq!(sourced(&env, "Z_BEHIND", dir.path()), "2", "{env}");
            let key = self::env(&json!({"labels": {(text): "held"}})).unwrap();
            let name = key.split_once('=').unwrap().0;
            assert_eq!(sourced(&key, name, dir.path()), "held", "{key}");
        }
        let left: Vec<_> = std::fs::read_dir(dir.path())
            .unwrap()
            .map(|f| f.unwrap().file_name())
            .collect();
        assert_eq!(left, ["env"], "something was done");
        assert!(env(&json!({"value": "a\0b"})).is_err());
    }

    #[test]
    fn what_is_nested_is_named_by_its_path() {
        let shown = env(&json!({
            "slug": "cho-ray", "write": {"host": "h", "port": 5432}, "read": [{"host": "a"}, {"host": "b"}],
            "in": ["vn", "eu"], "none": null, "fenced": false, "0": "n", "l": {"a-b": 1, "a_b": 2}
        }));
        let expected = "X_0=n\nFENCED=false\nIN='vn,eu'\nL_A_B=1\nL_A_B_2=2\nNONE=''\nREAD_0_HOST=a\nREAD_1_HOST=b\nSLUG=cho-ray\nWRITE_HOST=h\nWRITE_PORT=5432";
        assert_eq!(shown.unwrap(), expected);
    }
}

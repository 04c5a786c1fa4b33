//! Settings as they were understood, one line each, and on request where each came from.

use std::fmt::Write;

use figment::value::Value;
use figment::{Figment, Source};

use super::Layered;
use super::layers::{ENV_PREFIX, FROM_ENV, FROM_FLAGS};

/// A key that ends in one of these is printed as `***`.
const SECRETS: [&str; 4] = ["secret", "password", "token", "webhook"];

impl Layered {
    /// `key = value` for each setting; with provenance, `# source` behind it.
    pub fn print(&self, with_provenance: bool) -> Result<String, super::Error> {
        let read = |error| super::Error::Read(Box::new(error));
        let all: Value = self.figment.extract().map_err(read)?;
        let mut lines = Vec::new();
        flatten("", &all, &mut lines);

        let width = lines
            .iter()
            .map(|(key, value)| key.len() + value.len())
            .max()
            .unwrap_or(0);
        let mut page = String::new();
        for (key, value) in &lines {
            let pad = width - key.len() - value.len();
            let written = match with_provenance {
                true => writeln!(
                    page,
                    "{key} = {value}{:pad$}  # {}",
                    "",
                    source(&self.figment, key)
                ),
                false => writeln!(page, "{key} = {value}"),
            };
            // Writing into a string cannot fail.
            written.unwrap_or_default();
        }
        Ok(page)
    }
}

fn flatten(key: &str, value: &Value, lines: &mut Vec<(String, String)>) {
    let Value::Dict(_, inner) = value else {
        lines.push((key.to_owned(), shown(key, value)));
        return;
    };
    for (name, value) in inner {
        let key = if key.is_empty() {
            name.clone()
        } else {
            format!("{key}.{name}")
        };
        flatten(&key, value, lines);
    }
}

fn shown(key: &str, value: &Value) -> String {
    if SECRETS.iter().any(|word| key.ends_with(word)) {
        return "***".to_owned();
    }
    match value {
        Value::String(_, text) => format!("{text:?}"),
        Value::Char(_, letter) => format!("{:?}", letter.to_string()),
        Value::Bool(_, yes) => yes.to_string(),
        Value::Array(_, items) => {
            let items: Vec<_> = items.iter().map(|item| shown(key, item)).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Num(_, number) => match (number.to_u128(), number.to_i128(), number.to_f64()) {
            (Some(n), _, _) => n.to_string(),
            (_, Some(n), _) => n.to_string(),
            (_, _, n) => n.unwrap_or_default().to_string(),
        },
        Value::Dict(..) | Value::Empty(..) => "{}".to_owned(),
    }
}

fn source(figment: &Figment, key: &str) -> String {
    let Some(metadata) = figment.find_metadata(key) else {
        return "default".to_owned();
    };
    match &metadata.source {
        Some(Source::File(path)) => path.display().to_string(),
        _ if metadata.name == FROM_ENV => {
            format!("{ENV_PREFIX}{}", key.replace('.', "__").to_ascii_uppercase())
        }
        _ if metadata.name == FROM_FLAGS => FROM_FLAGS.to_owned(),
        _ => "default".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_masked() {
        assert_eq!(shown("vault.token", &Value::from("s3cret")), "***");
        assert_eq!(
            shown("alerts.webhook", &Value::from("https://x/T0/s3cret")),
            "***"
        );
        assert_eq!(shown("cluster", &Value::from("hospital")), "\"hospital\"");
        assert_eq!(shown("node_id", &Value::from(7)), "7");
    }
}

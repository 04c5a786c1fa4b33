//! The forms that results come in, and which verb has which.
//!
//! A form that means nothing for a verb is a usage error before anything is asked or done.

use clap::ValueEnum;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Form {
    #[default]
    Table,
    /// A table with all columns, and nothing shortened
    Wide,
    Json,
    /// One object a line
    Jsonl,
    Yaml,
    /// Only names, one a line
    Name,
    /// Variables for a shell
    Env,
}

/// What lists things that have names.
const NAMING: [&str; 10] = [
    "tenant ls",
    "op ls",
    "group ls",
    "region ls",
    "principal ls",
    "isolation report",
    "alert ls",
    "cluster members",
    "context ls",
    "explain",
];

/// What lists without names, or goes on and on.
const LISTING: [&str; 5] = [
    "isolation scan",
    "secret age",
    "audit tail",
    "cluster status",
    "op watch",
];

/// What shows one thing.
const SHOWING: [&str; 38] = [
    "tenant create",
    "tenant get",
    "tenant status",
    "tenant allowlist",
    "tenant set",
    "tenant suspend",
    "tenant resume",
    "tenant delete",
    "group get",
    "group fence",
    "group unfence",
    "region create",
    "principal revoke",
    "whoami",
    "resolve",
    "op get",
    "op watch",
    "op wait",
    "op cancel",
    "op retry",
    "op limits",
    "secret rotate",
    "cluster init",
    "cluster add-node",
    "cluster remove-node",
    "cluster transfer-leader",
    "cluster join-token",
    "cluster enroll",
    "cluster snapshot save",
    "cluster snapshot verify",
    "cluster snapshot restore",
    "cluster recover",
    "context get",
    "version",
    "explain",
    "bench resolve",
    "bench write",
    "bench watch",
];

/// What prints no result of its own.
const SILENT: [&str; 8] = [
    "service-file",
    "pgbouncer-ini",
    "context use",
    "context refresh",
    "dev",
    "demo",
    "completion",
    "man",
];

/// What has a table whose columns can be chosen, beside what has names. None of these changes anything: an unknown column
/// is found only when the table is there.
const TABULAR: [&str; 6] = [
    "secret age",
    "audit tail",
    "audit verify",
    "cluster status",
    "op get",
    "tenant status",
];

/// The forms that a verb has.
pub fn forms(verb: &str) -> Vec<Form> {
    if SILENT.contains(&verb) {
        return vec![Form::Table, Form::Json];
    }
    let mut forms = vec![Form::Table, Form::Wide, Form::Json, Form::Yaml];
    if NAMING.contains(&verb) || LISTING.contains(&verb) {
        forms.push(Form::Jsonl);
    }
    if NAMING.contains(&verb) {
        forms.push(Form::Name);
    }
    if SHOWING.contains(&verb) {
        forms.push(Form::Env);
    }
    forms
}

/// Why a verb cannot answer in this form, or with these columns.
pub fn refuse(verb: &str, form: Form, columns: &[String]) -> Option<String> {
    let forms = forms(verb);
    if !forms.contains(&form) {
        let mut why = format!("`reeve {verb}` has no -o {}", word(form));
        if form == Form::Name {
            why.push_str(&format!(
                "; it is for what lists things with names: {}",
                NAMING.join(", ")
            ));
        }
        let these: Vec<&str> = forms.into_iter().map(word).collect();
        return Some(format!("{why}\n  fix: use -o {}", these.join(" or -o ")));
    }
    if columns.is_empty() {
        return None;
    }
    if !NAMING.contains(&verb) && !TABULAR.contains(&verb) {
        let why = format!("`reeve {verb}` has no table whose columns could be chosen");
        return Some(format!(
            "{why}\n  fix: use -o json and take the fields that you need"
        ));
    }
    match form {
        Form::Table | Form::Wide => None,
        other => Some(format!(
            "--columns is for tables, and -o {} is none\n  fix: leave one of them away",
            word(other)
        )),
    }
}

fn word(form: Form) -> &'static str {
    match form {
        Form::Table => "table",
        Form::Wide => "wide",
        Form::Json => "json",
        Form::Jsonl => "jsonl",
        Form::Yaml => "yaml",
        Form::Name => "name",
        Form::Env => "env",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_the_forms_there_are() {
        let why = refuse("tenant get", Form::Jsonl, &[]).unwrap();
        assert_eq!(
            why,
            "`reeve tenant get` has no -o jsonl\n  fix: use -o table or -o wide or -o json or -o yaml or -o env"
        );
        assert_eq!(refuse("tenant ls", Form::Jsonl, &[]), None);
        assert_eq!(refuse("dev", Form::Json, &[]), None);
        assert!(refuse("dev", Form::Yaml, &[]).is_some());
        assert!(refuse("tenant ls", Form::Env, &[]).is_some());
    }

    #[test]
    fn columns_are_for_tables_and_nothing_is_done_before_that_is_said() {
        let columns = ["ID".to_owned()];
        assert_eq!(refuse("tenant ls", Form::Wide, &columns), None);
        assert!(
            refuse("tenant ls", Form::Json, &columns)
                .unwrap()
                .contains("-o json is none")
        );
        assert!(
            refuse("tenant delete", Form::Table, &columns)
                .unwrap()
                .contains("no table")
        );
    }

    #[test]
    fn every_verb_that_is_named_here_is_there() {
        let mut verbs = Vec::new();
        crate::app::walk(&crate::app::command(), "", &mut |path, verb| {
            if verb.get_subcommands().next().is_none() {
                verbs.push(path.trim_start().to_owned());
            }
        });
        for named in [&NAMING[..], &LISTING, &SHOWING, &SILENT, &TABULAR].concat() {
            assert!(verbs.iter().any(|verb| verb == named), "{named} is no verb");
        }
    }
}

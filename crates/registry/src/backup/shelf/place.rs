//! Where a URL says that backups are: a folder, or a place in a bucket.

use std::path::PathBuf;

use url::Url;

use crate::config::S3;
use crate::wire::is_here;

/// What a URL names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    Folder(PathBuf),
    Bucket { bucket: String, prefix: String },
}

impl Place {
    /// Reads `file:///a/folder` or `s3://bucket/prefix`.
    pub fn parse(url: &str) -> Result<Place, String> {
        if let Some(path) = url.strip_prefix("file://") {
            return match path.starts_with('/') {
                true => Ok(Place::Folder(path.into())),
                false => Err(format!("{url:?} is not file:///a/folder")),
            };
        }
        let Some(rest) = url.strip_prefix("s3://") else {
            return Err(format!(
                "{url:?} is neither file:///a/folder nor s3://bucket/prefix"
            ));
        };
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.contains(['@', ':']) {
            // Not repeated: it may hold a key.
            return Err("an s3:// URL holds no keys and no port; see backup.s3".to_owned());
        }
        let is_word = |c: char| matches!(c, 'a'..='z' | '0'..='9' | '.' | '-');
        if !(3..=63).contains(&bucket.len()) || !bucket.chars().all(is_word) {
            return Err(format!(
                "{bucket:?} is no bucket: 3 to 63 of a-z, 0-9, '.' and '-'"
            ));
        }
        let prefix = prefix.trim_end_matches('/');
        let is_part = |part: &str| {
            let is_letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
            !part.is_empty() && part != "." && part != ".." && part.chars().all(is_letter)
        };
        if !prefix.is_empty() && !prefix.split('/').all(is_part) {
            return Err(format!(
                "{prefix:?} is no prefix: words of a-z, A-Z, 0-9, '.', '-' and '_' with one '/' between"
            ));
        }
        Ok(Place::Bucket {
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
        })
    }

    /// The same place without its last word, and the word.
    pub fn split(&self) -> Option<(Place, String)> {
        match self {
            Place::Folder(path) => {
                let name = path.file_name()?.to_str()?.to_owned();
                Some((Place::Folder(path.parent()?.to_owned()), name))
            }
            Place::Bucket { bucket, prefix } => {
                let (prefix, name) = prefix.rsplit_once('/').unwrap_or(("", prefix));
                let place = Place::Bucket {
                    bucket: bucket.clone(),
                    prefix: prefix.to_owned(),
                };
                (!name.is_empty()).then(|| (place, name.to_owned()))
            }
        }
    }
}

/// Holds the settings of a store to what they must be; says which one is wrong, and why.
pub fn check(s3: &S3) -> Result<(), (&'static str, String)> {
    let wrong = |field, why: &str| Err((field, why.to_owned()));
    if s3.region.is_empty() {
        return wrong(
            "backup.s3.region",
            "must be set; any word will do for a server without regions",
        );
    }
    if s3.access_key_file.as_os_str().is_empty() != s3.secret_key_file.as_os_str().is_empty() {
        return wrong(
            "backup.s3.secret_key_file",
            "name both access_key_file and secret_key_file, or neither",
        );
    }
    if s3.patience_ms < 100 {
        return wrong("backup.s3.patience_ms", "must be at least 100");
    }
    if !s3.endpoint.is_empty() {
        endpoint(s3).map_err(|why| ("backup.s3.endpoint", why))?;
    }
    Ok(())
}

/// Reads the endpoint; plain HTTP is for this machine alone, unless somebody said otherwise.
pub(super) fn endpoint(s3: &S3) -> Result<Url, String> {
    let shape = || {
        format!(
            "{:?} is not https://host or https://host:port",
            shown(&s3.endpoint)
        )
    };
    let url = Url::parse(&s3.endpoint).map_err(|_| shape())?;
    let is_bare = url.username().is_empty()
        && url.password().is_none()
        && matches!(url.path(), "" | "/")
        && url.query().is_none()
        && url.fragment().is_none();
    if !matches!(url.scheme(), "http" | "https") || !is_bare || url.host().is_none() {
        return Err(shape());
    }
    if url.scheme() == "http" && !s3.allow_plain_http && !is_here(url.host()) {
        return Err(
            "it is plain http, where everybody on the way can read and change what passes; use https, or set backup.s3.allow_plain_http"
                .to_owned(),
        );
    }
    Ok(url)
}

/// An endpoint without what may be a password in it.
fn shown(endpoint: &str) -> String {
    match endpoint.rsplit_once('@') {
        Some((_, rest)) => format!("***@{rest}"),
        None => endpoint.to_owned(),
    }
}

//! A bucket: how it is opened, and the uploads in it that nobody goes on with.

use std::path::Path as File;
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::Method;
use object_store::aws::{AmazonS3, AmazonS3Builder, S3ConditionalPut};
use object_store::client::{HttpRequest, HttpRequestBody};
use object_store::multipart::MultipartStore;
use object_store::path::Path;
use object_store::signer::{SignedUrlOptions, Signer};
use object_store::{BackoffConfig, RetryConfig};
use zeroize::Zeroizing;

use super::place::endpoint;
use super::trouble::{Reason, Trouble};
use crate::config::S3;
use crate::wire::Wire;

/// Within one request; then the step has failed.
const RETRIES_MAX: usize = 4;
const RETRY_MAX: Duration = Duration::from_secs(120);
const SIGNED_FOR: Duration = Duration::from_secs(300);
/// Uploads that one look at them names; the next look sees further ones.
const UPLOADS_MAX: &str = "1000";
/// A key is a few dozen letters.
const KEY_BYTES_MAX: u64 = 4 << 10;

/// One bucket, and the way to it.
#[derive(Clone, Debug)]
pub(super) struct Bucket {
    pub(super) s3: AmazonS3,
    wire: Wire,
}

/// An upload of many parts that was begun.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Upload {
    pub(super) key: String,
    id: String,
}

impl Bucket {
    pub(super) fn open(bucket: &str, settings: &S3) -> Result<Bucket, Trouble> {
        let patience = Duration::from_millis(settings.patience_ms);
        let wire = Wire::new(&settings.ca_file, patience)
            .map_err(|why| Trouble::new(Reason::Settings, format!("backup.s3.ca_file: {why}")))?;
        let keys = Keys::read(settings)?;
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(bucket)
            .with_region(&settings.region)
            .with_access_key_id(&*keys.access)
            .with_secret_access_key(&*keys.secret)
            .with_virtual_hosted_style_request(!settings.path_style)
            .with_conditional_put(S3ConditionalPut::ETagMatch)
            // One by one: not every server knows how to take away many at once.
            .with_disable_bulk_delete(true)
            // The endpoint was judged when the settings were read.
            .with_allow_http(true)
            .with_http_connector(wire.clone())
            .with_retry(RetryConfig {
                backoff: BackoffConfig::default(),
                max_retries: RETRIES_MAX,
                retry_timeout: RETRY_MAX,
            });
        if let Some(token) = &keys.token {
            builder = builder.with_token(token.as_str());
        }
        if !settings.endpoint.is_empty() {
            let wrong = |why| Trouble::new(Reason::Settings, format!("backup.s3.endpoint: {why}"));
            let mut url = endpoint(settings).map_err(wrong)?;
            if !settings.path_style {
                let host = format!("{bucket}.{}", url.host_str().unwrap_or_default());
                url.set_host(Some(&host))
                    .map_err(|error| wrong(error.to_string()))?;
            }
            builder = builder.with_endpoint(url.as_str().trim_end_matches('/'));
        }
        let s3 = builder.build().map_err(|error| Trouble::of_store(&error))?;
        Ok(Bucket { s3, wire })
    }

    /// What was begun below a prefix and neither ended nor was given up.
    pub(super) async fn uploads(&self, prefix: &str) -> Result<Vec<Upload>, Trouble> {
        let odd = |error: &dyn std::error::Error| Trouble::new(Reason::Other, error.to_string());
        let query = [("uploads", ""), ("prefix", prefix), ("max-uploads", UPLOADS_MAX)];
        let options = SignedUrlOptions::new().with_query(query);
        let signed = self
            .s3
            .signed_url_opts(Method::GET, &Path::default(), SIGNED_FOR, &options)
            .await
            .map_err(|error| Trouble::of_store(&error))?;
        let mut request = HttpRequest::new(HttpRequestBody::empty());
        *request.uri_mut() = signed.as_str().parse().map_err(|error| odd(&error))?;
        let lost = |error: object_store::client::HttpError| {
            Trouble::of_store(&object_store::Error::Generic {
                store: "S3",
                source: Box::new(error),
            })
        };
        let answer = self.wire.client().execute(request).await.map_err(lost)?;
        let status = answer.status();
        let page = answer.into_body().collect().await.map_err(lost)?.to_bytes();
        let page = String::from_utf8_lossy(&page);
        match status.is_success() {
            true => Ok(read_uploads(&page)),
            false => Err(Trouble::of_page(status.as_u16(), &page)),
        }
    }

    /// Gives one up; its parts go.
    pub(super) async fn give_up(&self, upload: &Upload) -> Result<(), Trouble> {
        let key = Path::from(upload.key.as_str());
        match self.s3.abort_multipart(&key, &upload.id).await {
            // Somebody else was quicker.
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(Trouble::of_store(&error)),
        }
    }
}

/// The uploads of a page in XML. Our own keys need no unescaping, and others are not of interest.
fn read_uploads(page: &str) -> Vec<Upload> {
    let field = |upload: &str, name: &str| {
        let rest = upload.split_once(&format!("<{name}>"))?.1;
        Some(rest.split_once(&format!("</{name}>"))?.0.to_owned())
    };
    let uploads = page.split("<Upload>").skip(1).filter_map(|upload| {
        let upload = upload.split_once("</Upload>")?.0;
        Some(Upload {
            key: field(upload, "Key")?,
            id: field(upload, "UploadId")?,
        })
    });
    uploads.collect()
}

/// What signs the requests; read anew for each look, so that new keys need no restart.
struct Keys {
    access: Zeroizing<String>,
    secret: Zeroizing<String>,
    token: Option<Zeroizing<String>>,
}

impl Keys {
    fn read(settings: &S3) -> Result<Keys, Trouble> {
        let of = |file: &File, name: &str| match file.as_os_str().is_empty() {
            false => read_key(file).map(Some),
            true => Ok(std::env::var(name)
                .ok()
                .filter(|text| !text.is_empty())
                .map(Zeroizing::new)),
        };
        let none = || {
            let what = "there is no access key: neither files in backup.s3 nor AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY";
            Trouble::new(Reason::Credentials, what)
        };
        let has_files = !settings.access_key_file.as_os_str().is_empty();
        let token = match has_files && settings.session_token_file.as_os_str().is_empty() {
            // A token of the environment belongs to the key of the environment.
            true => None,
            false => of(&settings.session_token_file, "AWS_SESSION_TOKEN")?,
        };
        Ok(Keys {
            access: of(&settings.access_key_file, "AWS_ACCESS_KEY_ID")?.ok_or_else(none)?,
            secret: of(&settings.secret_key_file, "AWS_SECRET_ACCESS_KEY")?.ok_or_else(none)?,
            token,
        })
    }
}

/// A key in a file that others may not read.
fn read_key(file: &File) -> Result<Zeroizing<String>, Trouble> {
    use std::io::Read;
    use std::os::unix::fs::PermissionsExt;
    let wrong = |why: String| Trouble::new(Reason::Credentials, format!("{}: {why}", file.display()));
    let opened = std::fs::File::open(file).map_err(|error| wrong(error.to_string()))?;
    let about = opened.metadata().map_err(|error| wrong(error.to_string()))?;
    if about.permissions().mode() & 0o007 != 0 {
        return Err(wrong(
            "it can be read by others; set its mode to 0600 or 0640".to_owned(),
        ));
    }
    let mut text = Zeroizing::new(String::new());
    let read = opened.take(KEY_BYTES_MAX).read_to_string(&mut text);
    read.map_err(|error| wrong(error.to_string()))?;
    let key = text.trim();
    if key.is_empty() || key.contains(char::is_whitespace) {
        return Err(wrong("it must hold one key and nothing else".to_owned()));
    }
    Ok(Zeroizing::new(key.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uploads_are_read_from_a_page() {
        let page = "<ListMultipartUploadsResult><Bucket>b</Bucket><Upload><Initiated>x</Initiated><Key>p/a</Key><UploadId>1</UploadId></Upload><Upload><UploadId>2</UploadId><Key>p/b</Key></Upload></ListMultipartUploadsResult>";
        let of = |key: &str, id: &str| Upload {
            key: key.into(),
            id: id.into(),
        };
        assert_eq!(read_uploads(page), [of("p/a", "1"), of("p/b", "2")]);
        assert_eq!(read_uploads("<ListMultipartUploadsResult/>"), []);
    }
}

//! Who a service is, for as long as it runs: its certificate is renewed at half of its life.
//!
//! ```text
//! half of its life ─► is a newer one on disk? ─┬─► yes: taken
//!                                              └─► no: a new key ─► RenewCertificate ─► on disk ─► in use
//! ```
//! Connections that are open go on; those that are made from then on show the next certificate.

mod files;

use std::time::{Duration, SystemTime};

use reeve_proto::{
    identity::{Credentials, KeyRequest, Kind},
    v1::RenewCertificateRequest,
};
use tonic::Request;
use tracing::{info, warn};

pub use self::files::IdentityFiles;
use self::files::Turn;
use crate::{Api, Error};

const PATIENCE: Duration = Duration::from_secs(30);
/// Before it is tried again. Some hundred tries fit into what is left of a certificate.
const PAUSE: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// While somebody else renews it, which takes moments.
const ANOTHERS_PAUSE: Duration = Duration::from_secs(1);

/// What one certificate's renewal came to.
#[derive(Debug, PartialEq, Eq)]
enum Done {
    Renewed,
    /// Somebody else had put a newer one on disk.
    Taken,
    /// Somebody else is at it.
    Later,
}

/// Keeps a service's certificate fresh, for ever. Of others there is nothing to keep: a person's session ends.
pub(crate) async fn keep_fresh(api: Api, credentials: Credentials, files: Option<IdentityFiles>) {
    if !matches!(credentials.spiffe().kind(), Kind::Service(_)) {
        return;
    }
    loop {
        let left = until_half_life(&credentials, SystemTime::now());
        if !left.is_zero() {
            // Clocks jump and machines sleep: it is looked at again and again.
            tokio::time::sleep(left.min(LOOK_EVERY)).await;
            continue;
        }
        let pause = match renew(&api, &credentials, files.as_ref()).await {
            Ok(Done::Later) => ANOTHERS_PAUSE,
            Ok(done) => {
                info!(?done, "this service's certificate is another one");
                PAUSE
            }
            Err(error) => {
                warn!(%error, "this service's certificate was not renewed; it is tried again");
                PAUSE
            }
        };
        tokio::time::sleep(jittered(pause)).await;
    }
}

async fn renew(api: &Api, credentials: &Credentials, files: Option<&IdentityFiles>) -> Result<Done, Error> {
    // Held until the files are written: of several processes with the same files one renews, and the others take it.
    let turn = files.map_or(Turn::Nobodys, IdentityFiles::turn);
    if let Some(files) = files {
        match files.take_newer(credentials) {
            Ok(true) => return Ok(Done::Taken),
            Ok(false) => {}
            // What is in use is good all the same, and is renewed from memory.
            Err(error) => warn!(%error, "the certificate on disk cannot be used"),
        }
        if matches!(turn, Turn::Anothers) {
            return Ok(Done::Later);
        }
    }
    let own = KeyRequest::generate().map_err(|error| Error::Invalid {
        what: "key",
        why: error.to_string(),
    })?;
    let mut request = Request::new(RenewCertificateRequest {
        csr_pem: own.csr_pem.clone(),
    });
    request.set_timeout(PATIENCE);
    let chain = api
        .access()
        .renew_certificate(request)
        .await?
        .into_inner()
        .certificate_chain_pem;
    credentials
        .renew_pem(&chain, &own.key_pem)
        .map_err(|error| Error::Answer(error.to_string()))?;
    if let (Some(files), Turn::Ours { .. }) = (files, &turn)
        && let Err(error) = files.write(&chain, &own.key_pem)
    {
        warn!(%error, "the renewed certificate is in use, and not on disk");
    }
    Ok(Done::Renewed)
}

fn until_half_life(credentials: &Credentials, now: SystemTime) -> Duration {
    let (from, to) = (credentials.not_before(), credentials.not_after());
    let half = from + to.duration_since(from).unwrap_or_default() / 2;
    half.duration_since(now).unwrap_or_default()
}

/// With some of it by chance, so that those who were enrolled together do not come together for ever.
fn jittered(most: Duration) -> Duration {
    most.mul_f64(0.5 + rand::random::<f64>() / 2.0)
}

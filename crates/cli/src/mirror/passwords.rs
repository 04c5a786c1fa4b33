//! The passwords that the file needs, and what is to be acknowledged of former ones.
//!
//! A password is one of a tenant's at a time: until the new one is had, the file keeps what it has, and that leads in still.

use std::collections::BTreeMap;

use futures::stream::{self, StreamExt};
use reeve_client::Api;
use reeve_client::v1::{self, ErrorReason};
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::fail::{Exit, Failure};
use crate::session::Session;

/// Asked for at once.
const AT_ONCE: usize = 16;

/// Of each tenant the last one that was given.
pub struct Passwords {
    /// Names this file to the registry, whichever process keeps it.
    instance: String,
    held: BTreeMap<String, Held>,
    written: BTreeMap<String, Written>,
}

/// A password, and the resolution that it came with.
struct Held {
    of: v1::Resolution,
    password: Zeroizing<String>,
}

/// A version that the file has.
struct Written {
    version: u64,
    /// From then on nothing older is in use; not known while whoever reads the file has not been told of it.
    drained: Option<Instant>,
    is_told: bool,
}

impl Passwords {
    pub fn of(instance: String) -> Passwords {
        Passwords {
            instance,
            held: BTreeMap::new(),
            written: BTreeMap::new(),
        }
    }

    /// A resolution and the password that fits it: this one, or the one before while its own is not had.
    pub fn fitting<'a>(&'a self, of: &'a v1::Resolution) -> Option<(&'a v1::Resolution, &'a str)> {
        let held = self.held.get(&of.tenant_id)?;
        let fitting = if held.fits(of) { of } else { &held.of };
        Some((fitting, held.password.as_str()))
    }

    /// Gets what is missing. Who has changed again meanwhile is left as it is: the watch brings that. What went wrong with
    /// one is told when all have been asked for.
    pub async fn fetch(
        &mut self,
        api: &Api,
        session: &Session,
        serving: &[&v1::Resolution],
    ) -> Result<(), Failure> {
        self.held
            .retain(|tenant, _| serving.iter().any(|of| of.tenant_id == *tenant));
        self.written.retain(|tenant, _| self.held.contains_key(tenant));
        let mut asking = Vec::new();
        for of in serving {
            match self.held.get_mut(&of.tenant_id) {
                Some(held) if held.fits(of) => held.of = (*of).clone(),
                _ => asking.push(ask(api, session, &self.instance, of)),
            }
        }
        let mut answers = stream::iter(asking).buffer_unordered(AT_ONCE);
        let (mut fetched, mut failed) = (Vec::new(), None);
        while let Some(answer) = answers.next().await {
            match answer {
                Ok(held) => fetched.extend(held),
                Err(failure) => failed = failed.or(Some(failure)),
            }
        }
        drop(answers);
        self.held.extend(fetched);
        failed.map_or(Ok(()), Err)
    }

    /// The file has these now.
    pub fn written(&mut self, serving: &[&v1::Resolution]) {
        for of in serving {
            let Some(version) = self.fitting(of).map(|(of, _)| of.credential_version) else {
                continue;
            };
            let known = self.written.get(&of.tenant_id);
            if known.is_none_or(|known| known.version != version) {
                let written = Written {
                    version,
                    drained: None,
                    is_told: false,
                };
                self.written.insert(of.tenant_id.clone(), written);
            }
        }
    }

    /// Whoever reads the file has been told of all that stands in it: what came before is out of use by then.
    pub fn settled(&mut self, drained: Instant) {
        let new = self
            .written
            .values_mut()
            .filter(|written| written.drained.is_none());
        new.for_each(|written| written.drained = Some(drained));
    }

    /// Tells the registry of what nothing older is in use any more.
    pub async fn acknowledge(&mut self, api: &Api, session: &Session, now: Instant) -> Result<(), Failure> {
        let is_due = |written: &Written| !written.is_told && written.drained.is_some_and(|at| at <= now);
        for (tenant, written) in self.written.iter_mut().filter(|(_, written)| is_due(written)) {
            let said = v1::AcknowledgeCredentialRequest {
                tenant_id: tenant.clone(),
                version: written.version,
                instance: self.instance.clone(),
            };
            match api.resolver().acknowledge_credential(session.ask(said)).await {
                Err(status) if Failure::from(status.clone()).exit == Exit::Unavailable => {
                    return Err(status.into());
                }
                // What was refused for what it says would be refused again: the tenant is gone, or nobody's any more.
                _ => written.is_told = true,
            }
        }
        Ok(())
    }
}

impl Held {
    fn fits(&self, of: &v1::Resolution) -> bool {
        (self.of.credential_version, &self.of.role) == (of.credential_version, &of.role)
    }
}

/// One password; none, when what is asked for is not the case any more.
async fn ask(
    api: &Api,
    session: &Session,
    instance: &str,
    of: &v1::Resolution,
) -> Result<Option<(String, Held)>, Failure> {
    let asked = v1::GetCredentialRequest {
        tenant_id: of.tenant_id.clone(),
        version: of.credential_version,
        slot: String::new(),
        instance: instance.to_owned(),
    };
    match api.resolver().get_credential(session.ask(asked)).await {
        Ok(answer) => {
            let given = answer.into_inner();
            let is_it = given.version == of.credential_version && given.role == of.role;
            let held = Held {
                of: of.clone(),
                password: Zeroizing::new(given.password),
            };
            Ok(is_it.then(|| (of.tenant_id.clone(), held)))
        }
        Err(status) => {
            let failure = Failure::from(status);
            let passed_by = [
                ErrorReason::Fenced,
                ErrorReason::TenantNotFound,
                ErrorReason::TenantNotServing,
            ];
            match failure.reason.is_some_and(|reason| passed_by.contains(&reason)) {
                true => Ok(None),
                false => Err(failure.doing(format!("the password of {} was not given", of.slug))),
            }
        }
    }
}

//! The two judges of certificates: a server's of its callers, a caller's of the nodes that answer.

use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme,
    client::{
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor,
    },
    crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
    server::{
        ParsedCertificate,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};

use super::{
    certificate::{self, Certificate, SpkiPin, pinned_root},
    connector::Expect,
    credentials::Credentials,
    provider,
    server::ClientAuth,
    spiffe::{Kind, SpiffeId},
};

/// Judges callers' certificates: chain to the root, issued for clients, one identity, ours, not revoked.
#[derive(Debug)]
pub(super) struct Callers {
    pub(super) credentials: Credentials,
    pub(super) auth: ClientAuth,
}

impl ClientCertVerifier for Callers {
    fn client_auth_mandatory(&self) -> bool {
        self.auth != ClientAuth::Optional
    }

    // Hints would tell strangers our names, and every caller has only one certificate to show.
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        let held = self.credentials.held();
        let verified = held.clients.verify_client_cert(end_entity, intermediates, now)?;
        let leaf = Certificate::read(end_entity)?;
        let caller = leaf.caller(held.spiffe.cluster())?;
        if self.auth == ClientAuth::NodesOnly && !matches!(caller.kind(), Kind::Node(_)) {
            return Err(certificate::Error::Peer {
                found: caller.to_string(),
                expected: "a node".into(),
            }
            .into());
        }
        if held.revoked.contains(&leaf.serial) {
            return Err(CertificateError::Revoked.into());
        }
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.credentials
            .held()
            .clients
            .verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.credentials
            .held()
            .clients
            .verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.credentials.held().clients.supported_verify_schemes()
    }
}

/// What a caller holds the answerer's chain to.
#[derive(Debug)]
pub(super) enum Trust {
    Root(Credentials),
    Pin(SpkiPin),
}

/// Judges the certificates of those who answer.
#[derive(Debug)]
pub(super) struct Nodes {
    trust: Trust,
    expect: Expect,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Nodes {
    pub(super) fn new(trust: Trust, expect: Expect) -> Nodes {
        Nodes {
            trust,
            expect,
            algorithms: provider().signature_verification_algorithms,
        }
    }

    fn verify_chain(
        &self,
        leaf: &CertificateDer<'_>,
        path: &[CertificateDer<'_>],
        roots: &RootCertStore,
        now: UnixTime,
    ) -> Result<Certificate, rustls::Error> {
        let parsed = ParsedCertificate::try_from(leaf)?;
        verify_server_cert_signed_by_trust_anchor(&parsed, roots, path, now, self.algorithms.all)?;
        Ok(Certificate::read(leaf)?)
    }

    fn judge(
        &self,
        leaf: &CertificateDer<'_>,
        path: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<SpiffeId, rustls::Error> {
        match &self.trust {
            Trust::Root(credentials) => {
                let held = credentials.held();
                let cert = self.verify_chain(leaf, path, &held.roots, now)?;
                if held.revoked.contains(&cert.serial) {
                    return Err(CertificateError::Revoked.into());
                }
                Ok(cert.answerer(Some(held.spiffe.cluster()))?)
            }
            Trust::Pin(pin) => {
                let mut roots = RootCertStore::empty();
                roots.add(pinned_root(path, pin)?.clone().into_owned())?;
                Ok(self.verify_chain(leaf, path, &roots, now)?.answerer(None)?)
            }
        }
    }
}

impl ServerCertVerifier for Nodes {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let found = self.judge(end_entity, intermediates, now)?;
        if let Expect::Node(id) = self.expect
            && *found.kind() != Kind::Node(id)
        {
            let expected = format!("node {id}");
            return Err(certificate::Error::Peer {
                found: found.to_string(),
                expected,
            }
            .into());
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

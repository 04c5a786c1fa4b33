//! What requests bring, and what becomes of it.

use http::{HeaderName, HeaderValue, Request};
use reeve_domain::TenantId;
use serde_json::Map;

use super::*;
use crate::{Error, Resolution};
use reeve_proto::v1;

const TENANT: HeaderName = HeaderName::from_static("x-tenant");

/// Believes `ok <slug>` and nothing else.
struct Words;

impl Verify for Words {
    fn verify(&self, token: &str) -> Result<Verified, InvalidToken> {
        let slug = token.strip_prefix("ok-").ok_or(InvalidToken::Signature)?;
        Ok(Verified {
            tenant: Selector::slug(slug).map_err(|_| InvalidToken::Claim)?,
            claims: Map::new(),
        })
    }
}

/// Reads a request of this target and these headers, and tells it in one word.
fn read_from(peer: Option<&str>, select: &Select, target: &str, headers: &[(&str, &str)]) -> String {
    let mut request = Request::builder().uri(target);
    for (name, value) in headers {
        request = request.header(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
    }
    let (parts, ()) = request.body(()).unwrap().into_parts();
    let head = Head {
        uri: &parts.uri,
        headers: &parts.headers,
        peer: peer.map(|peer| peer.parse().unwrap()),
    };
    match select.read(&head) {
        Ok(wishes) => {
            let names: Vec<_> = wishes.iter().map(|wish| wish.selector.to_string()).collect();
            names.join(", ")
        }
        Err(refused) => refused.reason().to_owned(),
    }
}

fn read(select: &Select, headers: &[(&str, &str)]) -> String {
    read_from(None, select, "/visits", headers)
}

#[test]
fn a_host_is_read_from_where_the_request_was_sent_and_nowhere_else() {
    let select = Select::domain();
    let hosts =
        |target: &str, headers: &[(&str, &str)]| read_from(Some("10.0.0.1"), &select, target, headers);
    assert_eq!(hosts("/", &[("host", "A.example:8443")]), "domain a.example");
    assert_eq!(hosts("http://a.example/", &[]), "domain a.example");
    assert_eq!(
        hosts("http://a.example/", &[("host", "A.EXAMPLE")]),
        "domain a.example"
    );
    assert_eq!(
        hosts("/", &[("host", "a.example"), ("x-forwarded-host", "b.example")]),
        "domain a.example",
        "nobody was told to trust it"
    );
    assert_eq!(
        hosts("http://a.example/", &[("host", "b.example")]),
        "TENANT_UNREADABLE"
    );
    assert_eq!(
        hosts("/", &[("host", "a.example"), ("host", "a.example")]),
        "TENANT_UNREADABLE"
    );
    for hostile in [
        "",
        " ",
        "a b",
        "a.example,b.example",
        "a.example/x",
        "u@a.example",
        "bệnh.vn",
        "a..b",
    ] {
        assert_eq!(
            hosts("/", &[("host", hostile)]),
            "TENANT_UNREADABLE",
            "{hostile:?}"
        );
    }
    for address in ["10.0.0.1", "10.0.0.1:80", "[::1]", "[::1]:80"] {
        assert_eq!(hosts("/", &[("host", address)]), "HOST_IS_ADDRESS", "{address}");
    }
    assert_eq!(hosts("/", &[]), "TENANT_UNNAMED");
}

#[test]
fn a_proxy_is_believed_by_its_address() {
    let hosts = Hosts::default().behind("10.0.0.0/8").unwrap();
    let select = Select::domain_of(hosts);
    let both = [("host", "proxy.example"), ("x-forwarded-host", "a.example")];
    let from = |peer| read_from(peer, &select, "/", &both);
    assert_eq!(from(Some("10.1.2.3")), "domain a.example");
    assert_eq!(from(Some("203.0.113.9")), "domain proxy.example");
    assert_eq!(from(None), "TENANT_UNREADABLE", "nobody knows who sent it");
    let behind = |headers: &[(&str, &str)]| read_from(Some("10.1.2.3"), &select, "/", headers);
    assert_eq!(behind(&both[..1]), "domain proxy.example", "it forwarded nothing");
    let twice = [both[0], both[1], ("x-forwarded-host", "b.example")];
    assert_eq!(behind(&twice), "TENANT_UNREADABLE");
    let joined = [both[0], ("x-forwarded-host", "a.example, b.example")];
    assert_eq!(behind(&joined), "TENANT_UNREADABLE");
    assert!(Hosts::default().behind("10.0.0.1/8").is_err());
}

#[test]
fn a_shared_host_names_nobody_and_something_else_must() {
    let hosts = Hosts::default().shared("Api.example").unwrap();
    let select = Select::domain_of(hosts).or(Select::header(TENANT));
    let api = ("host", "api.example:443");
    assert_eq!(read(&select, &[api, ("x-tenant", "a")]), "header x-tenant: a");
    assert_eq!(read(&select, &[api]), "TENANT_UNNAMED");
    assert!(Hosts::default().shared("a b").is_err());
}

#[test]
fn all_names_that_are_there_are_read() {
    let select = Select::domain()
        .or(Select::header(TENANT))
        .or(Select::token(Words));
    let host = ("host", "a.example");
    assert_eq!(read(&select, &[host]), "domain a.example");
    assert_eq!(
        read(
            &select,
            &[host, ("x-tenant", "b"), ("authorization", "bearer ok-c")]
        ),
        "domain a.example, header x-tenant: b, slug c"
    );
    assert_eq!(
        read(&select, &[host, ("authorization", "Basic dXNlcg==")]),
        "domain a.example",
        "another scheme is no token"
    );
    assert_eq!(read(&select, &[]), "TOKEN_MISSING");
    let turned = Select::token(Words).or(Select::domain());
    assert_eq!(read(&turned, &[]), "TOKEN_MISSING");
}

#[test]
fn what_is_there_and_unreadable_is_never_passed_over() {
    let select = Select::domain()
        .or(Select::header(TENANT))
        .or(Select::token(Words));
    let host = ("host", "a.example");
    for (bad, reason) in [
        (vec![("x-tenant", "")], "TENANT_UNREADABLE"),
        (vec![("x-tenant", "a b")], "TENANT_UNREADABLE"),
        (vec![("x-tenant", "a"), ("x-tenant", "a")], "TENANT_UNREADABLE"),
        (vec![("authorization", "Bearer forged")], "TOKEN_INVALID"),
        (
            vec![("authorization", "Bearer ok-a"), ("authorization", "Bearer ok-b")],
            "TENANT_UNREADABLE",
        ),
    ] {
        let mut headers = vec![host];
        headers.extend(bad);
        assert_eq!(read(&select, &headers), reason, "{headers:?}");
    }
    let odd = Select::header(TENANT)
        .and(Select::token(Words))
        .or(Select::domain());
    assert_eq!(
        read(&odd, &[host, ("authorization", "Bearer forged")]),
        "TOKEN_INVALID"
    );
}

#[test]
fn a_token_that_is_demanded_must_be_there() {
    let select = Select::domain().and(Select::token(Words));
    let host = ("host", "a.example");
    assert_eq!(read(&select, &[host]), "TOKEN_MISSING");
    assert_eq!(
        read(&select, &[host, ("authorization", "Bearer ok-a")]),
        "domain a.example, slug a"
    );
    assert_eq!(
        read(&select, &[("authorization", "Bearer ok-a")]),
        "TENANT_UNNAMED"
    );
}

fn tenant(n: u64) -> Arc<Resolution> {
    let wire = v1::Resolution {
        tenant_id: TenantId::from_random(n).to_string(),
        ..Default::default()
    };
    Arc::new(Resolution::try_from(wire).unwrap())
}

#[test]
fn names_must_lead_to_one_tenant() {
    let ok = |n| Ok(tenant(n));
    let nobody = || Err(Error::Unknown("x".into()));
    let away = || Err(Error::Retry(Box::new(tonic::Status::unavailable("down"))));
    let asleep = || {
        Err(Error::NotServing {
            tenant: "t".into(),
            state: "suspended".into(),
        })
    };
    let judge = |answers: Vec<Result<Arc<Resolution>, Error>>| {
        let kinds = [Kind::Domain, Kind::Token, Kind::Header];
        agree(kinds.into_iter().zip(answers).collect()).map(|one| one.tenant.clone())
    };
    let reason = |answers| judge(answers).unwrap_err().reason();
    assert_eq!(judge(vec![ok(1)]).unwrap(), TenantId::from_random(1));
    assert_eq!(
        judge(vec![ok(1), ok(1), ok(1)]).unwrap(),
        TenantId::from_random(1)
    );
    assert_eq!(reason(vec![ok(1), ok(2)]), "TENANT_MISMATCH");
    assert_eq!(reason(vec![ok(1), ok(1), ok(2)]), "TENANT_MISMATCH");
    assert_eq!(reason(vec![ok(1), nobody()]), "TENANT_MISMATCH");
    assert_eq!(reason(vec![nobody(), ok(1)]), "TENANT_MISMATCH");
    assert_eq!(reason(vec![ok(1), asleep()]), "TENANT_MISMATCH");
    assert_eq!(reason(vec![ok(1), away(), ok(2)]), "TENANT_MISMATCH");
    assert_eq!(reason(vec![ok(1), away()]), "REGISTRY_UNAVAILABLE");
    assert_eq!(reason(vec![ok(1), nobody(), away()]), "REGISTRY_UNAVAILABLE");
    assert_eq!(reason(vec![away(), nobody()]), "REGISTRY_UNAVAILABLE");
    assert_eq!(reason(vec![nobody(), asleep()]), "TENANT_NOT_FOUND");
    assert_eq!(reason(vec![asleep(), asleep()]), "TENANT_NOT_SERVING");
}

#[test]
fn a_bearer_that_cannot_be_read_is_a_token_all_the_same() {
    let select = Select::domain().or(Select::token(Words));
    let host = ("host", "a.example");
    for odd in [
        "Bearer",
        "bearer ",
        "Bearer\tok-b",
        "Bearer ok-b ok-c",
        "Bearer,ok-b",
        "BEARER  \t",
    ] {
        assert_eq!(
            read(&select, &[host, ("authorization", odd)]),
            "TOKEN_INVALID",
            "{odd:?}"
        );
    }
    for other in ["Basic b2s=", "Bearers ok-b", "Digest x"] {
        assert_eq!(
            read(&select, &[host, ("authorization", other)]),
            "domain a.example",
            "{other:?}"
        );
    }
    assert_eq!(
        read(&select, &[host, ("authorization", "bearer  ok-b ")]),
        "domain a.example, slug b"
    );
}

#[test]
fn beside_a_token_a_host_is_read_and_alone_it_lets_nobody_in() {
    let hosts = Hosts::default().shared("api.example").unwrap();
    let select = Select::token(Words).beside(Select::domain_of(hosts));
    let (token, host) = (("authorization", "Bearer ok-a"), ("host", "a.example"));
    assert_eq!(read(&select, &[host]), "TOKEN_MISSING");
    assert_eq!(read(&select, &[token, ("host", "api.example")]), "slug a");
    assert_eq!(read(&select, &[token, host]), "slug a, domain a.example");
    assert_eq!(read(&select, &[token, ("host", "a b")]), "TENANT_UNREADABLE");
}

#[test]
fn who_forwards_a_host_must_be_known() {
    let select = Select::domain_of(Hosts::default().behind("10.0.0.0/8").unwrap());
    let headers = [("host", "a.example"), ("x-forwarded-host", "b.example")];
    assert_eq!(read(&select, &headers), "TENANT_UNREADABLE");
    assert_eq!(read(&select, &headers[..1]), "domain a.example");
    assert_eq!(
        read(&Select::domain(), &headers),
        "domain a.example",
        "nobody is trusted"
    );
}

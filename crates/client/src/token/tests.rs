//! Who is believed, and all the ways not to be.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_lc_rs::{
    rand::SystemRandom,
    rsa::{KeySize, PublicKeyComponents as RsaPublicKeyComponents},
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING as P256, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256,
        RSA_PSS_SHA256, RsaEncoding, RsaKeyPair,
    },
};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as B64};
use jsonwebtoken::{Algorithm, EncodingKey, Header, crypto, encode, jwk::Jwk};
use serde_json::{Value, json};

use super::*;

const ISSUER: &str = "https://id.example";

/// Somebody with a key, who says whatever a test wants.
struct Signer {
    key: EncodingKey,
    public: Vec<u8>,
    id: &'static str,
}

impl Signer {
    fn new(id: &'static str) -> Signer {
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(&P256, &SystemRandom::new()).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(&P256, pkcs8.as_ref()).unwrap();
        Signer {
            key: EncodingKey::from_ec_der(pkcs8.as_ref()),
            public: pair.public_key().as_ref().to_vec(),
            id,
        }
    }

    fn jwk(&self) -> Value {
        let mut jwk = json!(Jwk::from_encoding_key(&self.key, Algorithm::ES256).unwrap());
        jwk["kid"] = json!(self.id);
        jwk
    }

    fn sign(&self, claims: &Value) -> String {
        self.sign_as(&self.header(), claims)
    }

    fn header(&self) -> Header {
        Header {
            kid: Some(self.id.to_owned()),
            ..Header::new(Algorithm::ES256)
        }
    }

    fn sign_as(&self, header: &Header, claims: &Value) -> String {
        encode(header, claims, &self.key).unwrap()
    }

    /// Signs header and payload as they stand.
    fn sign_raw(&self, header: &str, payload: &str) -> String {
        let message = format!("{}.{}", B64.encode(header), B64.encode(payload));
        let signature = crypto::sign(message.as_bytes(), &self.key, Algorithm::ES256).unwrap();
        format!("{message}.{signature}")
    }
}

fn set(keys: &[Value]) -> String {
    json!({ "keys": keys }).to_string()
}

fn issuer(name: &str, tenant: TenantClaim) -> Issuer {
    Issuer {
        name: name.to_owned(),
        audience: "ehr".to_owned(),
        tenant,
    }
}

fn tid() -> TenantClaim {
    TenantClaim::OfIssuer("tid".to_owned())
}

fn believing(signer: &Signer) -> Tokens {
    Tokens::default()
        .issuer(issuer(ISSUER, tid()), &set(&[signer.jwk()]))
        .unwrap()
}

fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_secs()).unwrap()
}

fn good() -> Value {
    json!({ "iss": ISSUER, "aud": "ehr", "sub": "dr-lan", "tid": "cho-ray", "exp": now() + 300 })
}

/// The good claims, with one of them otherwise; null takes it out.
fn with(name: &str, value: Value) -> Value {
    let mut claims = good();
    let map = claims.as_object_mut().unwrap();
    match value.is_null() {
        true => drop(map.remove(name)),
        false => drop(map.insert(name.to_owned(), value)),
    }
    claims
}

fn refusal(tokens: &Tokens, token: &str) -> InvalidToken {
    tokens.verify(token).unwrap_err()
}

#[test]
fn a_good_token_speaks_for_its_tenant() {
    let signer = Signer::new("one");
    let jwks = set(&[signer.jwk()]);
    for (tenant, named) in [
        (tid(), "subject https://id.example|cho-ray"),
        (TenantClaim::Subject, "subject https://id.example|dr-lan"),
        (TenantClaim::Slug("tid".to_owned()), "slug cho-ray"),
    ] {
        let tokens = Tokens::default().issuer(issuer(ISSUER, tenant), &jwks).unwrap();
        let verified = tokens.verify(&signer.sign(&good())).unwrap();
        assert_eq!(verified.tenant.to_string(), named);
        assert_eq!(verified.claims["sub"], "dr-lan");
        assert!(
            !format!("{verified:?}").contains("lan"),
            "claims are not for logs"
        );
    }
    let several = with("aud", json!(["lab", "ehr"]));
    assert!(believing(&signer).verify(&signer.sign(&several)).is_ok());
}

#[test]
fn a_signature_counts_only_from_the_key_it_names() {
    let (signer, other, stranger) = (Signer::new("one"), Signer::new("two"), Signer::new("one"));
    let tokens = Tokens::default()
        .issuer(issuer(ISSUER, tid()), &set(&[signer.jwk(), other.jwk()]))
        .unwrap();
    assert!(tokens.verify(&signer.sign(&good())).is_ok());
    assert!(tokens.verify(&other.sign(&good())).is_ok());
    assert_eq!(refusal(&tokens, &stranger.sign(&good())), InvalidToken::Signature);
    let named = |kid: Option<&str>| Header {
        kid: kid.map(str::to_owned),
        ..Header::new(Algorithm::ES256)
    };
    let as_two = signer.sign_as(&named(Some("two")), &good());
    assert_eq!(refusal(&tokens, &as_two), InvalidToken::Signature);
    let as_three = signer.sign_as(&named(Some("three")), &good());
    assert_eq!(refusal(&tokens, &as_three), InvalidToken::UnknownKey);
    let unnamed = signer.sign_as(&named(None), &good());
    assert_eq!(
        refusal(&tokens, &unnamed),
        InvalidToken::UnknownKey,
        "of two keys it names none"
    );
    assert!(believing(&signer).verify(&unnamed).is_ok(), "there is only one");

    let mut changed = signer
        .sign(&good())
        .split('.')
        .map(str::to_owned)
        .collect::<Vec<_>>();
    changed[1] = B64.encode(with("tid", json!("charite")).to_string());
    assert_eq!(refusal(&tokens, &changed.join(".")), InvalidToken::Signature);
}

#[test]
fn the_key_chooses_the_algorithm() {
    let signer = Signer::new("one");
    let tokens = believing(&signer);
    // The public key as a secret: whoever reads the JWKS could sign.
    let confused = Header {
        kid: Some("one".to_owned()),
        ..Header::new(Algorithm::HS256)
    };
    for secret in [signer.public.clone(), set(&[signer.jwk()]).into_bytes()] {
        let forged = encode(&confused, &good(), &EncodingKey::from_secret(&secret)).unwrap();
        assert_eq!(refusal(&tokens, &forged), InvalidToken::Algorithm);
    }
    let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
    let edwards = EncodingKey::from_ed_der(pkcs8.as_ref());
    let header = Header {
        kid: Some("one".to_owned()),
        ..Header::new(Algorithm::EdDSA)
    };
    let token = encode(&header, &good(), &edwards).unwrap();
    assert_eq!(refusal(&tokens, &token), InvalidToken::Algorithm);
    for none in ["none", "None", "NONE", ""] {
        let header = json!({ "alg": none, "kid": "one" }).to_string();
        let message = format!("{}.{}", B64.encode(header), B64.encode(good().to_string()));
        for signature in ["", "AAAA"] {
            let told = refusal(&tokens, &format!("{message}.{signature}"));
            assert_eq!(told, InvalidToken::Malformed, "{none:?}");
        }
    }
    let pair = Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap();
    let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "x": B64.encode(pair.public_key()) });
    let tokens = Tokens::default()
        .issuer(issuer(ISSUER, tid()), &set(&[jwk]))
        .unwrap();
    assert!(
        tokens.verify(&token).is_err(),
        "the only key has no id, and the token names one"
    );
    let unnamed = encode(&Header::new(Algorithm::EdDSA), &good(), &edwards).unwrap();
    assert!(tokens.verify(&unnamed).is_ok());
}

/// What most hospitals' directories sign with.
#[test]
fn an_rsa_key_verifies_the_one_algorithm_it_is_for() {
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let public = RsaPublicKeyComponents::<Vec<u8>>::from(pair.public_key());
    let mut jwk = json!({ "kty": "RSA", "n": B64.encode(public.n), "e": B64.encode(public.e) });
    let sign = |alg: &str, padding: &'static dyn RsaEncoding| {
        let header = json!({ "alg": alg }).to_string();
        let message = format!("{}.{}", B64.encode(header), B64.encode(good().to_string()));
        let mut signature = vec![0; pair.public_modulus_len()];
        let random = SystemRandom::new();
        pair.sign(padding, &random, message.as_bytes(), &mut signature)
            .unwrap();
        format!("{message}.{}", B64.encode(signature))
    };
    let (usual, other) = (sign("RS256", &RSA_PKCS1_SHA256), sign("PS256", &RSA_PSS_SHA256));
    let believing = |jwk: &Value| {
        let jwks = set(std::slice::from_ref(jwk));
        Tokens::default().issuer(issuer(ISSUER, tid()), &jwks).unwrap()
    };
    let tokens = believing(&jwk);
    assert!(tokens.verify(&usual).is_ok());
    assert_eq!(refusal(&tokens, &other), InvalidToken::Algorithm);
    jwk["alg"] = json!("PS256");
    let tokens = believing(&jwk);
    assert!(tokens.verify(&other).is_ok());
    assert_eq!(refusal(&tokens, &usual), InvalidToken::Algorithm);
}

#[test]
fn a_token_has_its_time_its_issuer_and_its_audience() {
    let signer = Signer::new("one");
    let tokens = believing(&signer);
    for (claims, why) in [
        (with("exp", json!(now() - 60)), InvalidToken::Expired),
        (with("exp", json!(0)), InvalidToken::Expired),
        (with("exp", Value::Null), InvalidToken::Claim),
        (with("exp", json!("tomorrow")), InvalidToken::Claim),
        (with("exp", json!(-1)), InvalidToken::Claim),
        (with("nbf", json!(now() + 60)), InvalidToken::NotYet),
        (with("nbf", json!("soon")), InvalidToken::Claim),
        (with("iss", json!("https://other.example")), InvalidToken::Issuer),
        (with("iss", json!([ISSUER])), InvalidToken::Issuer),
        (with("iss", Value::Null), InvalidToken::Issuer),
        (with("aud", json!("lab")), InvalidToken::Audience),
        (with("aud", json!([])), InvalidToken::Audience),
        (with("aud", Value::Null), InvalidToken::Claim),
        (with("tid", Value::Null), InvalidToken::Claim),
        (with("tid", json!("")), InvalidToken::Claim),
        (with("tid", json!(["cho-ray"])), InvalidToken::Claim),
    ] {
        assert_eq!(refusal(&tokens, &signer.sign(&claims)), why, "{claims}");
    }
    // Clocks differ a little.
    for claims in [with("exp", json!(now() - 10)), with("nbf", json!(now() + 10))] {
        assert!(tokens.verify(&signer.sign(&claims)).is_ok(), "{claims}");
    }
}

#[test]
fn each_issuer_speaks_with_its_own_keys_alone() {
    let (signer, other) = (Signer::new("one"), Signer::new("one"));
    let tokens = believing(&signer)
        .issuer(issuer("https://other.example", tid()), &set(&[other.jwk()]))
        .unwrap();
    let by_other = with("iss", json!("https://other.example"));
    let verified = tokens.verify(&other.sign(&by_other)).unwrap();
    assert_eq!(
        verified.tenant.to_string(),
        "subject https://other.example|cho-ray"
    );
    assert_eq!(refusal(&tokens, &other.sign(&good())), InvalidToken::Signature);
    assert_eq!(refusal(&tokens, &signer.sign(&by_other)), InvalidToken::Signature);
}

#[test]
fn what_is_too_long_repeated_or_no_token_is_refused() {
    let signer = Signer::new("one");
    let tokens = believing(&signer);
    let long = signer.sign(&with("note", json!("x".repeat(BYTES_MAX))));
    assert_eq!(refusal(&tokens, &long), InvalidToken::TooLong);

    let header = json!(signer.header()).to_string();
    let exp = now() + 300;
    let twice = |name: &str| {
        format!(r#"{{"iss":"{ISSUER}","aud":"ehr","exp":{exp},"tid":"charite",{name},"tid2":"x"}}"#)
    };
    assert!(
        tokens
            .verify(&signer.sign_raw(&header, &twice(r#""a":1"#)))
            .is_ok()
    );
    for name in [
        r#""tid":"cho-ray""#,
        r#""\u0074id":"cho-ray""#,
        r#""exp":99"#,
        r#""iss":"x""#,
    ] {
        let token = signer.sign_raw(&header, &twice(name));
        assert_eq!(refusal(&tokens, &token), InvalidToken::Repeated, "{name}");
    }
    let critical = r#"{"alg":"ES256","kid":"one","crit":["b64"],"b64":false}"#;
    let token = signer.sign_raw(critical, &good().to_string());
    assert_eq!(refusal(&tokens, &token), InvalidToken::Critical);
    for (typ, is_believed) in [
        (None, true),
        (Some("JWT"), true),
        (Some("at+JWT"), true),
        (Some("Application/at+jwt"), true),
        (Some("logout+jwt"), false),
        (Some("dpop+jwt"), false),
        (Some("application/secevent+jwt"), false),
        (Some("application/"), false),
        (Some(""), false),
    ] {
        let header = Header {
            typ: typ.map(str::to_owned),
            ..signer.header()
        };
        let verified = tokens.verify(&signer.sign_as(&header, &good()));
        let told = verified.map(drop);
        let wanted = if is_believed {
            Ok(())
        } else {
            Err(InvalidToken::Kind)
        };
        assert_eq!(told, wanted, "{typ:?}");
    }
    let two_ids = r#"{"alg":"ES256","kid":"two","kid":"one"}"#;
    let token = signer.sign_raw(two_ids, &good().to_string());
    assert_eq!(refusal(&tokens, &token), InvalidToken::Repeated);
    let whole = signer.sign(&good());
    for odd in [
        "",
        ".",
        "..",
        "a.b.c",
        "{}",
        &whole[1..],
        &format!("{whole}.x"),
        &format!("{whole}="),
    ] {
        assert!(tokens.verify(odd).is_err(), "{odd:?}");
    }
}

#[test]
fn keys_can_be_replaced_while_it_runs_and_bad_ones_change_nothing() {
    let (signer, next) = (Signer::new("one"), Signer::new("two"));
    let tokens = believing(&signer);
    let clone = tokens.clone();
    for bad in ["", "{}", r#"{"keys":[]}"#] {
        assert!(tokens.replace_keys(ISSUER, bad).is_err(), "{bad:?}");
    }
    assert!(tokens.replace_keys("nobody", &set(&[next.jwk()])).is_err());
    assert!(clone.verify(&signer.sign(&good())).is_ok());
    tokens.replace_keys(ISSUER, &set(&[next.jwk()])).unwrap();
    assert!(clone.verify(&next.sign(&good())).is_ok());
    assert_eq!(refusal(&clone, &signer.sign(&good())), InvalidToken::UnknownKey);
}

#[test]
fn a_set_of_keys_holds_public_ones_each_for_one_algorithm() {
    let signer = Signer::new("one");
    let parse = |keys: &[Value]| KeySet::parse(&set(keys)).map(drop);
    let said = |mut jwk: Value, name: &str, value: &str| {
        jwk[name] = json!(value);
        jwk
    };
    let secret = json!({ "kty": "oct", "k": "c2VjcmV0", "kid": "s" });
    assert!(parse(&[signer.jwk(), secret]).is_err(), "a secret among them");
    assert!(parse(&[signer.jwk(), signer.jwk()]).is_err(), "the same id twice");
    for alg in ["HS256", "RS256", "ES384", "EdDSA", "RSA-OAEP", "none"] {
        let odd = said(signer.jwk(), "alg", alg);
        assert!(parse(&[odd]).is_err(), "{alg} on P-256");
    }
    let mut exchanging = signer.jwk();
    exchanging["key_ops"] = json!(["deriveKey"]);
    let later = json!({ "kty": "AKP", "alg": "ML-DSA-44", "pub": "AQAB", "kid": "later" });
    let curve = said(signer.jwk(), "crv", "secp256k1");
    for other in [said(signer.jwk(), "use", "enc"), exchanging, later, curve] {
        assert!(
            parse(std::slice::from_ref(&other)).is_err(),
            "none is left of {other}"
        );
        let usual = said(Signer::new("two").jwk(), "use", "sig");
        assert!(
            parse(&[other.clone(), usual]).is_ok(),
            "it is not passed over: {other}"
        );
    }
    let rsa = json!({ "kty": "RSA", "n": "AQAB", "e": "AQAB", "kid": "r", "alg": "PS384" });
    let keys = KeySet::parse(&set(&[rsa])).unwrap();
    assert_eq!(keys.find(Some("r")).unwrap().algorithm, Algorithm::PS384);
}

#[test]
fn an_issuer_is_known_once_and_by_a_name_that_names_nobody_else() {
    let signer = Signer::new("k1");
    let tokens = believing(&signer);
    let jwks = set(&[signer.jwk()]);
    let name = tokens.issuers.keys().next().unwrap().clone();
    for odd in [name.as_str(), "", "https://id|x", "an issuer"] {
        assert!(
            tokens.clone().issuer(issuer(odd, tid()), &jwks).is_err(),
            "{odd:?}"
        );
    }
    assert!(
        tokens
            .issuer(issuer("https://other.example", tid()), &jwks)
            .is_ok()
    );
}

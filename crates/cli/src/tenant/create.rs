//! `reeve tenant create`: claims reserved, database made, schema migrated, doors opened.

use std::collections::HashMap;

use clap::{Args, ValueEnum};
use reeve_client::{Selector, v1};

use crate::fail::Failure;
use crate::session::Session;
use crate::show::tenant::Tenant as Shown;
use crate::turn::Order;
use crate::wait::{self, Goal, Wait};

/// Onboard a tenant
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  reeve tenant create cho-ray --region vn --domain cho-ray.example --channel ehr\n  reeve tenant create charite --region eu --domain charite.example --header 'X-Tenant: charite' --no-wait\n  reeve tenant create bach-mai --region vn --channel ehr --dry-run"
)]
pub struct Create {
    /// a-z, 0-9 and '-', 1 to 40 characters
    slug: String,
    /// Home region: where its data lives
    #[arg(long, value_name = "REGION")]
    region: String,
    /// Further regions that may ever hold its data
    #[arg(long, value_delimiter = ',', value_name = "REGIONS")]
    allow_region: Vec<String>,
    /// Domains that lead to it
    #[arg(long, value_delimiter = ',', value_name = "DOMAINS")]
    domain: Vec<String>,
    /// Headers that lead to it
    #[arg(long, value_name = "NAME: VALUE")]
    header: Vec<String>,
    /// Subjects of tokens that lead to it
    #[arg(long, value_name = "ISSUER|SUBJECT")]
    subject: Vec<String>,
    /// Schema channel
    #[arg(long, visible_alias = "schema", default_value = "ehr", value_name = "NAME")]
    channel: String,
    /// Schema version; the newest unless told
    #[arg(long, default_value_t = 0, hide_default_value = true, value_name = "N")]
    schema_version: u32,
    /// Its name for people
    #[arg(long, value_name = "TEXT")]
    display_name: Option<String>,
    /// Beside others on an instance, or alone
    #[arg(long, value_enum, default_value_t = Class::Shared)]
    class: Class,
    /// Networks that may connect; the fleet's default unless told
    #[arg(long, value_delimiter = ',', value_name = "CIDRS")]
    allow: Vec<String>,
    /// Connections its roles may open in all
    #[arg(long, value_name = "N")]
    connections: Option<u32>,
    /// Labels
    #[arg(long, value_delimiter = ',', value_parser = label, value_name = "NAME=VALUE")]
    label: Vec<(String, String)>,
    /// Check everything, change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    order: Order,
    #[command(flatten)]
    wait: Wait,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Class {
    Shared,
    Dedicated,
}

pub async fn run(args: Create, session: &Session) -> Result<(), Failure> {
    let order = order(&args, session.request_id())?;
    let answer = session.api()?.tenants().create_tenant(session.ask(order)).await;
    let answer = answer
        .map_err(|status| Failure::from(status).doing(format!("{} was not created", args.slug)))?
        .into_inner();
    if args.dry_run {
        session.say("nothing stands against it; nothing was changed");
        return match answer.tenant {
            Some(tenant) => session.print(&Shown::from(tenant)),
            None => Ok(()),
        };
    }
    wait::answer(session, answer.operation, &args.wait, Goal::Done).await
}

fn order(args: &Create, request_id: String) -> Result<v1::CreateTenantRequest, Failure> {
    let mut allowed = vec![args.region.clone()];
    allowed.extend(
        args.allow_region
            .iter()
            .filter(|region| **region != args.region)
            .cloned(),
    );
    let class = match args.class {
        Class::Shared => v1::tenant::Class::Shared,
        Class::Dedicated => v1::tenant::Class::Dedicated,
    };
    Ok(v1::CreateTenantRequest {
        request_id,
        slug: args.slug.clone(),
        display_name: args.display_name.clone().unwrap_or_else(|| args.slug.clone()),
        region_policy: Some(v1::RegionPolicy {
            home: args.region.clone(),
            allowed,
        }),
        class: class.into(),
        claims: claims(args)?,
        schema: Some(v1::SchemaPolicy {
            channel: args.channel.clone(),
            target_version: args.schema_version,
            ..Default::default()
        }),
        allowlist_cidrs: args.allow.clone(),
        limits: args.connections.map(|connections| v1::Limits { connections }),
        settings: None,
        labels: args.label.iter().cloned().collect::<HashMap<_, _>>(),
        validate_only: args.dry_run,
        turn: args.order.wire(),
    })
}

fn claims(args: &Create) -> Result<Vec<v1::Claim>, Failure> {
    let domains = args.domain.iter().map(|text| format!("domain:{text}"));
    let headers = args.header.iter().map(|text| format!("header:{text}"));
    let subjects = args.subject.iter().map(|text| format!("subject:{text}"));
    let mut claims = Vec::new();
    for text in domains.chain(headers).chain(subjects) {
        claims.push(reeve_proto::convert::claim(Selector::parse(&text)?.claim()));
    }
    Ok(claims)
}

pub(super) fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(format!("{text:?} is not name=value")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Words {
        #[command(flatten)]
        create: Create,
    }

    fn order_of(words: &[&str]) -> Result<v1::CreateTenantRequest, Failure> {
        let words = Words::parse_from(["x"].iter().chain(words));
        order(&words.create, "r-1".into())
    }

    #[test]
    fn words_become_an_order() {
        let made = order_of(&[
            "cho-ray",
            "--region",
            "vn",
            "--allow-region",
            "vn,sg",
            "--domain",
            "Cho-Ray.example,b.example",
            "--header",
            "X-Tenant: cho-ray",
            "--schema",
            "lab",
            "--label",
            "tier=1",
            "--class",
            "dedicated",
        ]);
        let made = made.unwrap();
        let regions = made.region_policy.clone().unwrap();
        assert_eq!(
            (regions.home.as_str(), regions.allowed),
            ("vn", vec!["vn".to_owned(), "sg".to_owned()])
        );
        assert_eq!(made.class(), v1::tenant::Class::Dedicated);
        assert_eq!(
            (made.request_id.as_str(), made.display_name.as_str()),
            ("r-1", "cho-ray")
        );
        assert_eq!(made.schema.unwrap().channel, "lab");
        assert_eq!(made.labels["tier"], "1");
        let keys: Vec<_> = made
            .claims
            .iter()
            .map(|claim| (claim.kind(), claim.key.as_str()))
            .collect();
        assert_eq!(keys[0], (v1::claim::Kind::Domain, "cho-ray.example"));
        assert_eq!(keys[1], (v1::claim::Kind::Domain, "b.example"));
        assert_eq!(keys[2].0, v1::claim::Kind::Header);
    }

    #[test]
    fn a_domain_that_is_none_is_usage() {
        let refused = order_of(&["cho-ray", "--region", "vn", "--domain", "no spaces"]).unwrap_err();
        assert_eq!(refused.exit, crate::fail::Exit::Usage);
        assert!(label("tier").is_err() && label("=1").is_err());
    }
}

//! `reeve tenant set`: what people call a tenant, and sort it by.

use clap::{ArgGroup, Args};
use reeve_client::v1;

use super::{create::label, get};
use crate::fail::Failure;
use crate::session::Session;

/// Change a tenant's name for people, or its labels
#[derive(Debug, Args)]
#[command(
    group(ArgGroup::new("change").required(true).multiple(true).args(["display_name", "label", "unlabel"])),
    override_usage = "reeve tenant set [OPTIONS] <TENANT>\n         <--display-name <TEXT>|--label <NAME=VALUE>|--unlabel <NAME>>",
    after_help = "Examples:\n  reeve tenant set cho-ray --display-name 'Chợ Rẫy'\n  reeve tenant set cho-ray --label tier=gold,city=hcmc --unlabel trial\n\nLabels that are not named stay. When somebody else has changed the tenant meanwhile, nothing is changed."
)]
pub struct Set {
    /// Its id or slug
    tenant: String,
    /// Its name for people
    #[arg(long, value_name = "TEXT")]
    display_name: Option<String>,
    /// Labels to set
    #[arg(long, value_delimiter = ',', value_parser = label, value_name = "NAME=VALUE")]
    label: Vec<(String, String)>,
    /// Labels to take away
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    unlabel: Vec<String>,
}

pub async fn run(args: Set, session: &Session) -> Result<(), Failure> {
    let (mut tenant, _) = get(session, &args.tenant).await?;
    let slug = tenant.slug.clone();
    let mut update_mask = Vec::new();
    if let Some(name) = args.display_name {
        tenant.display_name = name;
        update_mask.push("display_name".to_owned());
    }
    if !args.label.is_empty() || !args.unlabel.is_empty() {
        if let Some(name) = args
            .unlabel
            .iter()
            .find(|name| !tenant.labels.contains_key(*name))
        {
            let why = format!("it has no label {name}");
            let failure = Failure::usage(format!("{slug} was not changed"), why);
            return Err(failure.fix(format!("`reeve tenant get {slug}` shows its labels")));
        }
        args.unlabel
            .iter()
            .for_each(|name| drop(tenant.labels.remove(name)));
        tenant.labels.extend(args.label);
        update_mask.push("labels".to_owned());
    }
    let asked = v1::UpdateTenantRequest {
        request_id: session.request_id(),
        tenant: Some(tenant),
        update_mask,
    };
    let answer = session.api()?.tenants().update_tenant(session.ask(asked)).await;
    let answer = answer.map_err(|status| Failure::from(status).doing(format!("{slug} was not changed")))?;
    super::print(answer.into_inner().tenant, session)
}

//! Whom a client of another language believes.

use std::time::SystemTime;

use anyhow::{Result, ensure};
use reeve_foreign::{Language, Program, Tools, World};
use reeve_proto::identity::ca;
use tokio::net::{TcpListener, TcpStream};

use super::{DOMAIN, places, service_config};

/// Also this machine, and in no certificate.
const OTHER_HOST: &str = "127.0.0.2";

/// A database under a host that its certificate does not name, or with a root that did not sign it, gets no password.
pub(super) async fn verifies(world: &World, tools: &Tools, language: Language) -> Result<()> {
    let port = world.fleet.postgres("vn-1")?.advertised_port();
    let detour = TcpListener::bind((OTHER_HOST, 0)).await?;
    let (other_port, root) = (detour.local_addr()?.port(), world.identities().join("other.crt"));
    std::fs::write(&root, ca::root("elsewhere", SystemTime::now())?.cert_pem)?;
    let leading = tokio::spawn(async move {
        while let Ok((mut from, _)) = detour.accept().await {
            let mut to = TcpStream::connect(("127.0.0.1", port)).await?;
            // Either side may hang up as it likes.
            let _ = tokio::io::copy_bidirectional(&mut from, &mut to).await;
        }
        std::io::Result::Ok(())
    });
    let mut command = tools.command(language, "walls");
    command.args(places(world, language, &world.identity("ehr"), &service_config()));
    command
        .args([DOMAIN, OTHER_HOST, &other_port.to_string()])
        .arg(root);
    let said = Program::start(command)?.leave().await?;
    leading.abort();
    let told = |what: &str| said.iter().find(|line| line["what"] == what);
    let refused = |what: &str, why: &str| {
        let line = told(what).filter(|line| line["event"] == "refused");
        line.is_some_and(|line| line["told"].as_str().is_some_and(|told| told.contains(why)))
    };
    ensure!(
        told("nothing").is_some_and(|line| line["event"] == "let in")
            && refused("host", "does not match")
            && refused("root", "is not the one named with the credential"),
        "{language:?}: {said:?}"
    );
    Ok(())
}

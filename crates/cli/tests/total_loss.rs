//! Every node is lost, and the registry comes back: from a saved snapshot, or from one survivor's folder.

mod ashes;

use std::path::Path;

use anyhow::{Context, Result, ensure};
use ashes::{Ashes, Load, PATIENCE, must_fail, reeve};
use reeve_bucket::{Options, Server};
use reeve_local::{Fleet, hand, tenants, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registry_that_lost_every_node_comes_back_from_a_snapshot() -> Result<()> {
    let no_regions: [&str; 0] = [];
    let fleet = Fleet::builder().regions(no_regions).direct().start().await?;
    let _hands = hand::region(&fleet, "vn", 2).await?;
    let ashes = Ashes::of(&fleet)?;
    let file = ashes.dir().join("hospital.snapshot");

    let load = Load::start(&fleet, 3);
    load.reach(6).await?;
    let before = load.acked();
    let saved = reeve(&ashes, "cluster snapshot save", &[&file])?;
    ensure!(
        saved["sha256"].as_str().is_some_and(|sum| sum.len() == 64),
        "{saved}"
    );
    load.reach(before.len() + 3).await?;
    let seen = ashes::newest_revision(&fleet).await?;
    load.stop().await;
    fleet.nodes().iter().try_for_each(|node| node.kill9())?;
    ashes.lose_everything(&fleet)?;

    // The file is all there is, and it is believed only whole.
    let key = ashes.root_key();
    let whole = reeve(
        &ashes,
        "cluster snapshot verify",
        &[file.as_path(), Path::new("--root-key"), &key],
    )?;
    ensure!(whole["inside"]["revision"] == saved["revision"], "{whole}");
    ensure!(
        whole["inside"]["tenants"].as_u64() >= Some(before.len() as u64),
        "{whole}"
    );
    let outside = reeve(&ashes, "cluster snapshot verify", &[&file])?;
    ensure!(
        outside["inside"].is_null() && outside["blocks"] == whole["blocks"],
        "{outside}"
    );
    let place = |dir: &str| ashes.place(&fleet, dir);
    let other = ashes.dir().join("other.key");
    ashes::write_key(&other)?;
    let told = must_fail(
        &ashes,
        "cluster snapshot verify",
        &[file.as_path(), Path::new("--root-key"), &other],
    )?;
    ensure!(told.contains("was sealed under root key"), "{told}");

    let asked = [vec![file.clone()], place("new").owned()].concat();
    let made = reeve(&ashes, "cluster snapshot restore", &asked)?;
    let again = must_fail(&ashes, "cluster snapshot restore", &asked)?;
    ensure!(again.contains("is there already"), "{again}");
    ensure!(
        made["revision"].as_u64() > Some(seen),
        "{made}, and {seen} was seen"
    );
    ensure!(made["cluster_id"] != made["from_cluster_id"], "{made}");
    let mutant = [("REEVE_MUTANT", "restore_without_leap")];
    let odd = [vec![file.clone()], place("odd").owned()].concat();
    let odd = ashes::reeve_owned(&ashes, &mutant, "cluster snapshot restore", &odd)?;
    ensure!(
        odd["revision"].as_u64() <= Some(seen),
        "the mutant went unnoticed: {odd}"
    );

    let first = ashes.start_restored(&made)?;
    // Hands, services and the old admin find it by themselves: the address is one that they know.
    ashes::present(&fleet, &before).await?;
    let operation = tenants::create(
        fleet.api(),
        tenants::order("born-after", "born-after.example", "vn", "ehr"),
    );
    let operation = tenants::ended(fleet.api(), &operation.await?.id, PATIENCE).await?;
    ensure!(
        operation.state() == reeve_client::v1::operation::State::Done,
        "{operation:?}"
    );
    ensure!(
        ashes::resolved_at(&fleet, "born-after.example").await? > seen,
        "time went back"
    );
    for (slug, domain) in &before {
        ensure!(
            ashes::resolved_at(&fleet, domain).await? > seen,
            "{slug} is from before"
        );
    }

    // The audit log goes on in the same chains.
    let export = ashes.dir().join("audit.jsonl");
    reeve(&ashes, "audit export", &[&export])?;
    reeve(&ashes, "audit verify", &[&export])?;
    let told = ashes::text(&ashes, "audit tail", &[Path::new("--shard"), "fleet".as_ref()])?;
    ensure!(
        told.contains("cluster.restore") && told.contains("snapshot.save"),
        "{told}"
    );

    // Others join as usual, and count as caught up although a million revisions never were.
    let second = ashes.join(&fleet, 2).await?;
    until("two voters", PATIENCE, async || {
        let cluster = ashes::cluster(&fleet).await?;
        let voters = cluster
            .nodes
            .iter()
            .filter(|node| node.role() as i32 <= 2)
            .count();
        Ok((voters == 2).then_some(()))
    })
    .await?;
    drop((first, second));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_acknowledged_is_in_the_folder_of_the_last_survivor() -> Result<()> {
    let no_regions: [&str; 0] = [];
    let fleet = Fleet::builder().regions(no_regions).direct().start().await?;
    let _hands = hand::region(&fleet, "vn", 1).await?;
    let ashes = Ashes::of(&fleet)?;
    let load = Load::start(&fleet, 3);
    load.reach(3).await?;
    let leader = fleet.leader().await?;
    let mut others = fleet.nodes().iter().filter(|node| node.id() != leader.id());
    let (lost, survivor) = (
        others.next().context("a follower")?,
        others.next().context("another")?,
    );

    // One is destroyed; the two that are left go on, and then the leader is destroyed.
    lost.kill9()?;
    load.reach(load.acked().len() + 6).await?;
    let seen = ashes::revision_of(survivor).await?;
    leader.kill9()?;
    survivor.kill9()?;
    let acked = load.acked();
    load.stop().await;
    ashes.lose_all_but(&fleet, survivor.id())?;

    let data = survivor.data_dir().to_owned();
    let before = ashes::sum_of_folder(&data)?;
    let from = |dir: &str| -> Result<Vec<_>> {
        let flag: Vec<std::path::PathBuf> = vec!["--data-dir".into(), data.clone()];
        Ok([flag, ashes.place_away_from(&fleet, dir, survivor.id()).owned()].concat())
    };
    let made = ashes::reeve_owned(&ashes, &[], "cluster recover", &from("new")?)?;
    ensure!(made["revision"].as_u64() > Some(seen), "{made}");
    ensure!(
        ashes::sum_of_folder(&data)? == before,
        "the survivor's folder was changed"
    );
    let mutant = [("REEVE_MUTANT", "recover_committed_only")];
    let odd = ashes::reeve_owned(&ashes, &mutant, "cluster recover", &from("odd")?)?;
    ensure!(
        odd["from_revision"].as_u64() < made["from_revision"].as_u64(),
        "the mutant went unnoticed: {odd}"
    );

    let _first = ashes.start_restored(&made)?;
    ashes::present(&fleet, &acked).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_leader_keeps_copies_by_itself_and_the_next_one_goes_on() -> Result<()> {
    let shelf = tempfile::tempdir()?;
    let settings = format!(
        "[backup]\nevery_ms = 1000\nkeep = 2\nurl = \"file://{}\"",
        shelf.path().display()
    );
    let no_regions: [&str; 0] = [];
    let fleet = Fleet::builder()
        .regions(no_regions)
        .direct()
        .node_settings(settings.parse()?)
        .start()
        .await?;
    let ashes = Ashes::of(&fleet)?;
    let newest = || ashes::kept(shelf.path()).pop();
    until("two copies, and no third", PATIENCE, async || {
        Ok((ashes::kept(shelf.path()).len() == 2).then_some(()))
    })
    .await?;
    fleet.leader().await?.kill9()?;
    let before = newest();
    until("a copy by another leader", PATIENCE, async || {
        let files = ashes::kept(shelf.path());
        Ok((files.last() > before.as_ref() && files.len() <= 3).then_some(()))
    })
    .await?;
    let told = ashes::text(&ashes, "audit tail", &[Path::new("--shard"), "fleet".as_ref()])?;
    ensure!(told.contains("snapshot.keep"), "{told}");
    // Nobody takes away what is being read.
    fleet.nodes().iter().try_for_each(|node| node.kill9())?;
    let file = newest().context("no copy")?;
    let whole = reeve(
        &ashes,
        "cluster snapshot verify",
        &[file.as_path(), Path::new("--root-key"), &ashes.root_key()],
    )?;
    ensure!(
        whole["inside"]["cluster"].as_str() == Some(fleet.cluster()),
        "{whole}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registry_that_lost_every_node_comes_back_from_its_bucket() -> Result<()> {
    let server = Server::start(Options::default()).await?;
    let no_regions: [&str; 0] = [];
    let fleet = Fleet::builder()
        .regions(no_regions)
        .direct()
        .node_settings(in_bucket(&server).parse()?)
        .start()
        .await?;
    let _hands = hand::region(&fleet, "vn", 1).await?;
    let ashes = Ashes::of(&fleet)?;
    let load = Load::start(&fleet, 2);
    load.reach(4).await?;
    let before = load.acked();
    load.stop().await;
    // One backup may have begun before; the one after it has all of them.
    let marks = || -> Result<usize> {
        let objects = server.objects("reeve")?.into_iter();
        Ok(objects.filter(|name| name.ends_with(".kept")).count())
    };
    let enough = marks()? + 2;
    until("two more backups", PATIENCE, async || {
        Ok((marks()? >= enough).then_some(()))
    })
    .await?;

    // What a person kept: the root key, and how the bucket is reached.
    let settings = ashes.dir().join("registry.toml");
    std::fs::copy(fleet.dir().join("n1/registry.toml"), &settings)?;
    fleet.nodes().iter().try_for_each(|node| node.kill9())?;
    ashes.lose_everything(&fleet)?;
    let (url, flag) = (Path::new("s3://backups/reeve"), Path::new("--settings"));
    let key = ashes.root_key();
    let whole = reeve(
        &ashes,
        "cluster snapshot verify",
        &[url, flag, &settings, Path::new("--root-key"), &key],
    )?;
    ensure!(
        whole["inside"]["tenants"].as_u64() >= Some(before.len() as u64),
        "{whole}"
    );
    let from = [url, flag, &settings].map(Path::to_owned).to_vec();
    let asked = [from, ashes.place(&fleet, "new").owned()].concat();
    let made = reeve(&ashes, "cluster snapshot restore", &asked)?;
    ensure!(made["from_revision"] == whole["inside"]["revision"], "{made}");
    let _first = ashes.start_restored(&made)?;
    ashes::present(&fleet, &before).await
}

/// Backups each second, in the bucket of this server.
fn in_bucket(server: &Server) -> String {
    format!(
        "[backup]\nevery_ms = 1000\nkeep = 50\nurl = \"s3://backups/reeve\"\n[backup.s3]\nendpoint = \"{}\"\n\
         ca_file = \"{}\"\naccess_key_file = \"{}\"\nsecret_key_file = \"{}\"\n",
        server.endpoint(),
        server.ca_file().display(),
        server.access_key_file().display(),
        server.secret_key_file().display(),
    )
}

/// The page that a person follows names the very options that the tests above use.
#[test]
fn the_page_says_what_is_done_here() -> Result<()> {
    let restore = ["--root-key", "--dir", "--admin", "--api", "--peer", "--http"];
    let recover = [&["--data-dir"], &restore[..]].concat();
    for (verb, options) in [
        ("cluster snapshot save", &[][..]),
        ("cluster snapshot verify", &["--root-key"]),
        ("cluster snapshot restore", &restore),
        ("cluster recover", &recover),
    ] {
        ensure!(ashes::documented(verb)? == options, "docs/operations.md: {verb}");
    }
    Ok(())
}

//! A record is believed as a node of this cluster signed it, and in no other form.

use reeve_domain::record::{FORMAT, NUMBER_MAX, Said, Statement};
use reeve_domain::words::Name;
use reeve_domain::{Revision, Stamp, TenantId};

use super::super::record::{Error, Export, Judge, Signed, sign};
use super::*;

fn statement(at: SystemTime) -> Statement {
    let at = at.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    Statement {
        format: FORMAT,
        cluster: "hospital".into(),
        cluster_id: "c-1".into(),
        agent: Name::parse("vn-1").unwrap(),
        revision: Revision(7),
        at: Stamp(at.as_millis() as u64),
        said: Said::Gone(TenantId::from_random(1)),
    }
}

fn judge(cluster: &Cluster) -> Judge {
    Judge::new(cluster.name, &cluster.root.cert_pem).unwrap()
}

fn signed(cluster: &Cluster, leaf: &Leaf, at: SystemTime) -> Signed {
    sign(&statement(at), &cluster.credentials(leaf)).unwrap()
}

#[test]
fn what_a_node_signed_is_believed_also_after_its_certificate_ended() {
    let cluster = Cluster::new("hospital");
    let year = Duration::from_secs(86_400 * 365);
    let usage = Usage::Node {
        hosts: vec!["localhost".into()],
    };
    let then = now() - Duration::from_secs(60);
    let made = signed(
        &cluster,
        &cluster.leaf_at("node/3", &usage, Duration::from_secs(30), then),
        then,
    );
    let (told, node) = judge(&cluster).open(&made).unwrap();
    assert_eq!((told, node), (statement(then), 3));
    // The stamp is inside: with that leaf nothing can be said later than the leaf lived.
    for at in [now(), now() + year, then - year] {
        let leaf = cluster.leaf_at("node/3", &usage, Duration::from_secs(30), then);
        assert!(matches!(
            judge(&cluster).open(&signed(&cluster, &leaf, at)),
            Err(Error::Chain(_))
        ));
    }
}

#[test]
fn no_byte_of_a_record_can_be_changed() {
    let cluster = Cluster::new("hospital");
    let judge = judge(&cluster);
    let made = signed(&cluster, &cluster.node(1), now());
    let export = |signed: &Signed| Export {
        format: FORMAT,
        agent: "vn-1".into(),
        records: vec![signed.clone()],
    };
    let bytes = export(&made).to_bytes().unwrap();
    let first = export(&made);
    assert_eq!(Export::from_bytes(&bytes).unwrap(), first);
    assert!(judge.open(&first.records[0]).is_ok());
    for at in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1;
        let Ok(read) = Export::from_bytes(&flipped) else {
            continue;
        };
        // The name on the file proves nothing; everything else is the record.
        for record in read.records.iter().filter(|record| **record != made) {
            assert!(
                judge.open(record).is_err(),
                "byte {at} was flipped and nobody saw it"
            );
        }
    }
}

#[test]
fn who_is_no_node_of_this_cluster_says_nothing() {
    let cluster = Cluster::new("hospital");
    let judge = judge(&cluster);
    let open = |made: Signed| judge.open(&made).map(drop).unwrap_err();
    for who in ["agent/vn-1", "svc/portal", "person/ann"] {
        let refused = open(signed(&cluster, &cluster.client(who), now()));
        assert!(matches!(refused, Error::NotANode(_)), "{who}: {refused}");
    }
    let same_name = Cluster::new("hospital");
    let refused = open(signed(&same_name, &same_name.node(1), now()));
    assert!(matches!(refused, Error::Chain(_)), "{refused}");
    let foreign = Cluster::new("clinic");
    assert!(matches!(
        open(signed(&foreign, &foreign.node(1), now())),
        Error::Chain(_)
    ));

    let mut of_another = statement(now());
    of_another.cluster = "clinic".into();
    let made = sign(&of_another, &cluster.credentials(&cluster.node(1))).unwrap();
    assert!(matches!(open(made), Error::Cluster { .. }));
    let mut newer = statement(now());
    newer.format = FORMAT + 1;
    let made = sign(&newer, &cluster.credentials(&cluster.node(1))).unwrap();
    assert!(matches!(open(made), Error::Format(_)));

    // Another's chain beside one's own signature, and a signature beside another statement.
    let node = signed(&cluster, &cluster.node(1), now());
    let agent = signed(&cluster, &cluster.client("agent/vn-1"), now());
    let borrowed = Signed {
        chain: node.chain.clone(),
        ..agent.clone()
    };
    assert!(matches!(open(borrowed), Error::Signature));
    let mut altered = statement(now());
    altered.revision = Revision(8);
    let altered = Signed {
        statement: sign(&altered, &cluster.credentials(&cluster.node(1)))
            .unwrap()
            .statement,
        ..node.clone()
    };
    assert!(matches!(open(altered), Error::Signature));
    let bare = Signed {
        chain: Vec::new(),
        ..node
    };
    assert!(matches!(open(bare), Error::TooLarge(_)));
}

#[test]
fn what_a_node_signed_is_not_believed_when_its_numbers_cannot_be() {
    let cluster = Cluster::new("hospital");
    let node = cluster.credentials(&cluster.node(1));
    let told = |revision: u64| {
        let mut told = statement(now());
        told.revision = Revision(revision);
        judge(&cluster).open(&sign(&told, &node).unwrap()).map(drop)
    };
    assert!(told(NUMBER_MAX).is_ok());
    for absurd in [NUMBER_MAX + 1, u64::MAX - 1, u64::MAX] {
        let refused = told(absurd).unwrap_err();
        assert!(matches!(refused, Error::Absurd(_)), "{refused}");
        let said = refused.to_string();
        assert!(
            said.contains("revision") && said.contains(&absurd.to_string()),
            "{said}"
        );
    }
}

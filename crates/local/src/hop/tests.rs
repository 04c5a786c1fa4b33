use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

/// A server that says back what it hears, and a hop in front of it.
async fn echo() -> Hop {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = stream.split();
                tokio::io::copy(&mut read, &mut write).await.ok();
            });
        }
    });
    Hop::open("a->b", 0, target).await.unwrap()
}

async fn call(stream: &mut TcpStream) -> std::io::Result<()> {
    stream.write_all(b"ping").await?;
    let mut heard = [0; 4];
    stream.read_exact(&mut heard).await?;
    assert_eq!(&heard, b"ping");
    Ok(())
}

async fn is_silent(stream: &mut TcpStream) -> bool {
    tokio::time::timeout(Duration::from_millis(100), call(stream))
        .await
        .is_err()
}

#[tokio::test]
async fn a_cut_resets_what_is_open_and_what_comes() {
    let hop = echo().await;
    let mut stream = TcpStream::connect(hop.address()).await.unwrap();
    call(&mut stream).await.unwrap();
    hop.set(Mode::Cut);
    assert!(call(&mut stream).await.is_err());
    if let Ok(mut late) = TcpStream::connect(hop.address()).await {
        assert!(call(&mut late).await.is_err());
    }
    hop.set(Mode::Pass);
    call(&mut TcpStream::connect(hop.address()).await.unwrap())
        .await
        .unwrap();
}

#[tokio::test]
async fn a_frozen_link_keeps_its_bytes_and_gives_them_later() {
    let hop = echo().await;
    let mut stream = TcpStream::connect(hop.address()).await.unwrap();
    call(&mut stream).await.unwrap();
    hop.set(Mode::Freeze);
    assert!(is_silent(&mut stream).await);
    let mut late = TcpStream::connect(hop.address()).await.unwrap();
    assert!(is_silent(&mut late).await);
    hop.set(Mode::Pass);
    let mut heard = [0; 4];
    stream.read_exact(&mut heard).await.unwrap();
    late.read_exact(&mut heard).await.unwrap();
    assert_eq!(&heard, b"ping");
}

#[tokio::test]
async fn a_delayed_link_is_late_and_whole() {
    let hop = echo().await;
    hop.set(Mode::Delay(Duration::from_millis(60)));
    let mut stream = TcpStream::connect(hop.address()).await.unwrap();
    let begun = Instant::now();
    call(&mut stream).await.unwrap();
    assert!(
        begun.elapsed() >= Duration::from_millis(120),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn one_direction_may_be_lost_and_is_never_mended_in_the_middle() {
    let hop = echo().await;
    let mut stream = TcpStream::connect(hop.address()).await.unwrap();
    call(&mut stream).await.unwrap();
    hop.set(Mode::DropBack);
    assert!(is_silent(&mut stream).await);
    hop.set(Mode::Pass);
    assert!(
        call(&mut stream).await.is_err(),
        "a stream with a hole must not go on"
    );
}

#[tokio::test]
async fn half_a_farewell_passes() {
    let hop = echo().await;
    let mut stream = TcpStream::connect(hop.address()).await.unwrap();
    stream.write_all(b"bye").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest, b"bye");
}

#[tokio::test]
async fn a_stranded_connection_is_dead_without_a_word_and_a_new_one_is_not() {
    let hop = echo().await;
    let mut stream = TcpStream::connect(hop.address()).await.unwrap();
    call(&mut stream).await.unwrap();
    hop.strand();
    assert!(is_silent(&mut stream).await);
    let mut new = TcpStream::connect(hop.address()).await.unwrap();
    call(&mut new).await.unwrap();
    assert!(is_silent(&mut stream).await, "it came back");
}

#[tokio::test]
async fn a_stuttering_link_is_late_and_whole() {
    let hop = echo().await;
    let pause = Duration::from_millis(30);
    hop.set(Mode::Stutter { percent: 100, pause });
    let mut stream = TcpStream::connect(hop.address()).await.unwrap();
    let begun = Instant::now();
    call(&mut stream).await.unwrap();
    assert!(begun.elapsed() >= 2 * pause, "{:?}", begun.elapsed());
}

#[tokio::test]
async fn what_one_node_says_is_lost_whoever_called() {
    let mut hops = Hops::default();
    for name in ["n1->n2", "n2->n1", "client->n2"] {
        hops.add(Hop::open(name, 0, 1).await.unwrap());
    }
    hops.silence(1, 2);
    assert_eq!(hops.get("n1->n2").unwrap().mode(), Mode::DropForth);
    assert_eq!(hops.get("n2->n1").unwrap().mode(), Mode::DropBack);
    assert_eq!(hops.get("client->n2").unwrap().mode(), Mode::Pass);
    hops.heal();
    hops.set_between(1, 2, Mode::Cut);
    assert_eq!(hops.get("n2->n1").unwrap().mode(), Mode::Cut);
    assert_eq!(hops.get("client->n2").unwrap().mode(), Mode::Pass);
}

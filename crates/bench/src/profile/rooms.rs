//! Which room a sample belongs to: the innermost call that has one, whoever called it.
//!
//! What serves everybody (`core`, `std`, collections, futures) has no room of its own: its caller's counts. Copying,
//! allocating and the kernel have, because what can be done about them is the same whoever asks.

use super::fold::of_kernel;

/// Where nobody that is known is on the stack.
pub(super) const ELSEWHERE: &str = "elsewhere";

/// Crates and modules, and the room that they are.
const MODULES: [(&str, &[&str]); 17] = [
    ("`reeve_registry::consensus`", &["reeve_registry::consensus"]),
    ("`reeve_registry::edge`", &["reeve_registry::edge"]),
    ("archive, `sled`", &["reeve_registry::archive", "sled"]),
    ("`reeve_registry::hub`", &["reeve_registry::hub"]),
    ("`reeve_registry`, the rest", &["reeve_registry"]),
    ("`reeve_domain`", &["reeve_domain"]),
    ("Protobuf (`prost`, `reeve_proto`)", &["prost", "reeve_proto"]),
    (
        "MessagePack (`rmp`, `serde`)",
        &["rmp", "rmp_serde", "serde", "serde_core", "serde_bytes"],
    ),
    ("`openraft`", &["openraft", "openraft_rt", "openraft_rt_tokio"]),
    ("log on disk (`raft_log`)", &["raft_log", "codeq"]),
    (
        "HTTP/2 (`h2`, `hyper`, `tonic`, `tower`)",
        &[
            "h2",
            "hyper",
            "hyper_util",
            "tonic",
            "tonic_prost",
            "tower",
            "tower_layer",
            "http",
            "http_body",
            "http_body_util",
            "axum",
        ],
    ),
    (
        "TLS (`rustls`, `aws_lc`)",
        &[
            "rustls",
            "tokio_rustls",
            "aws_lc_rs",
            "aws_lc_sys",
            "webpki",
            "x509_parser",
        ],
    ),
    ("SHA-256 (`sha2`)", &["sha2", "digest", "block_buffer"]),
    (
        "maps (`imbl`, `hashbrown`)",
        &["imbl", "imbl_sized_chunks", "hashbrown"],
    ),
    (
        "`tokio`",
        &[
            "tokio",
            "tokio_util",
            "tokio_stream",
            "mio",
            "parking_lot",
            "parking_lot_core",
        ],
    ),
    (
        "rates, metrics and logs",
        &[
            "governor",
            "dashmap",
            "prometheus_client",
            "tracing",
            "tracing_core",
            "tracing_subscriber",
        ],
    ),
    ("allocating", &["mimalloc", "libmimalloc_sys"]),
];

/// How symbols begin that are no paths.
const SYMBOLS: [(&str, &[&str]); 4] = [
    (
        "allocating",
        &[
            "mi_", "_mi_", "__mi_", "malloc", "free", "calloc", "realloc", "cfree", "__rust_", "__rdl_",
            "_int_",
        ],
    ),
    (
        "copying and comparing memory",
        &[
            "memcpy",
            "memmove",
            "memset",
            "memcmp",
            "bcmp",
            "__memcpy",
            "__memmove",
            "__memset",
            "__memcmp",
            "__bcmp",
            "compiler_builtins::mem",
        ],
    ),
    (
        "TLS (`rustls`, `aws_lc`)",
        &[
            "aws_lc_",
            "AWS_LC_",
            "aesni",
            "_aesni",
            "__aesni",
            "gcm_",
            "_vpaes",
            "__ecp_nistz",
        ],
    ),
    (
        "clock",
        &["__vdso_", "[vdso]", "clock_gettime", "__clock_gettime"],
    ),
];

/// What the kernel does, by what a frame's name holds.
const KERNEL: [(&str, &[&str]); 4] = [
    (
        "kernel: disk",
        &[
            "fsync",
            "fdatasync",
            "ext4",
            "xfs_",
            "btrfs",
            "jbd2",
            "blk_",
            "bio",
            "nvme",
            "filemap",
            "iomap",
        ],
    ),
    (
        "kernel: network",
        &["tcp_", "sock", "inet", "ip_", "skb", "net_", "unix_stream"],
    ),
    (
        "kernel: memory",
        &[
            "page_fault",
            "exc_page",
            "madvise",
            "mmap",
            "munmap",
            "do_anonymous_page",
        ],
    ),
    (
        "kernel: waiting and waking",
        &[
            "futex", "epoll", "schedule", "eventfd", "sleep", "poll", "wake_up",
        ],
    ),
];
const KERNEL_REST: &str = "kernel: the rest";

/// The room of a stack whose innermost call stands last.
pub(super) fn room(frames: &[&str]) -> &'static str {
    if frames.last().is_some_and(|frame| of_kernel(frame).is_some()) {
        return of_kernels(frames);
    }
    let known = frames.iter().rev().find_map(|frame| of_frame(frame));
    known.unwrap_or(ELSEWHERE)
}

/// The outermost call that tells: a send that wakes somebody was a send.
fn of_kernels(frames: &[&str]) -> &'static str {
    let names = frames.iter().filter_map(|frame| of_kernel(frame));
    let told = |name: &str| {
        KERNEL
            .iter()
            .find(|(_, words)| words.iter().any(|word| says(name, word)))
    };
    let mut found = names.filter_map(told);
    found.next().map_or(KERNEL_REST, |(room, _)| room)
}

/// Whether a name has a part that begins so.
fn says(name: &str, word: &str) -> bool {
    let mut places = name.match_indices(word);
    places.any(|(at, _)| at == 0 || name.as_bytes()[at - 1] == b'_')
}

fn of_frame(frame: &str) -> Option<&'static str> {
    let begins = |starts: &&[&str]| starts.iter().any(|start| frame.starts_with(start));
    if let Some((room, _)) = SYMBOLS.iter().find(|(_, starts)| begins(starts)) {
        return Some(room);
    }
    let owner = owner(frame);
    let within = |module: &&str| {
        let rest = owner.strip_prefix(module);
        rest.is_some_and(|rest| !rest.starts_with(|next: char| next.is_alphanumeric() || next == '_'))
    };
    let known = MODULES.iter().find(|(_, modules)| modules.iter().any(&within));
    known.map(|(room, _)| *room)
}

/// The path that a function belongs to: of `<T as Trait>::f` that of T, of dropping a T that of T.
fn owner(frame: &str) -> &str {
    let dropped = ["core::ptr::drop_in_place<", "core::ptr::drop_glue::<"];
    let inner = dropped.iter().find_map(|start| frame.strip_prefix(start));
    inner
        .unwrap_or(frame)
        .trim_start_matches(['<', '&', '[', '(', '*', ' '])
        .trim_start_matches("mut ")
        .trim_start_matches("dyn ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_call_that_has_a_room_counts() {
        for (frames, wanted) in [
            (
                &[
                    "reeve_registry::edge::desk::run",
                    "reeve_domain::apply",
                    "core::slice::sort",
                ][..],
                "`reeve_domain`",
            ),
            (
                &[
                    "openraft::core::run",
                    "<reeve_registry::consensus::log::Log as openraft::Storage>::append",
                ],
                "`reeve_registry::consensus`",
            ),
            (&["h2::proto::poll", "_mi_page_malloc"], "allocating"),
            (
                &["reeve_domain::apply", "__memmove_avx_unaligned_erms"],
                "copying and comparing memory",
            ),
            (
                &["reeve_domain::apply", "sha2::sha256::compress256"],
                "SHA-256 (`sha2`)",
            ),
            (
                &["tonic::serve", "aws_lc_0_33_0_EVP_AEAD_CTX_seal"],
                "TLS (`rustls`, `aws_lc`)",
            ),
            (&["reeve_registry::scrub::run"], "`reeve_registry`, the rest"),
            (
                &["sled::pagecache::gc", "core::ptr::drop_in_place<sled::Node>"],
                "archive, `sled`",
            ),
            (&["std::thread::start", "[unknown]"], ELSEWHERE),
            (&[], ELSEWHERE),
        ] {
            assert_eq!(room(frames), wanted, "{frames:?}");
        }
    }

    #[test]
    fn a_room_is_a_whole_word() {
        assert_eq!(of_frame("h2o::run"), None);
        assert_eq!(of_frame("tokio_other::run"), None);
        assert_eq!(
            of_frame("<&mut tokio::net::TcpStream as Read>::poll"),
            Some("`tokio`")
        );
        assert_eq!(of_frame("sled"), Some("archive, `sled`"));
    }

    #[test]
    fn the_kernel_is_told_by_what_it_was_asked_for() {
        for (frames, wanted) in [
            (
                &["raft_log::sync", "ext4_sync_file_[k]", "schedule_[k]"][..],
                "kernel: disk",
            ),
            (&["h2::flush", "tcp_sendmsg_[k]", "memcpy_[k]"], "kernel: network"),
            (
                &["_mi_malloc", "asm_exc_page_fault_[k]", "clear_page_[k]"],
                "kernel: memory",
            ),
            (
                &["tokio::park", "do_epoll_wait_[k]", "tcp_poll_[k]"],
                "kernel: waiting and waking",
            ),
            (&["x", "do_skip_over_[k]"], KERNEL_REST),
            (&["x", "entry_SYSCALL_64_[k]"], KERNEL_REST),
        ] {
            assert_eq!(room(frames), wanted, "{frames:?}");
        }
    }
}

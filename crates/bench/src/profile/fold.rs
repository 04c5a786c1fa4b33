//! Samples with the same stack become one line with a count.

use anyhow::{Result, ensure};
use inferno::collapse::Collapse;
use inferno::collapse::perf::{Folder, Options};

/// Marks a frame of the kernel.
const KERNEL: &str = "_[k]";

/// All stacks of one recording, each with how often it was seen.
pub struct Stacks {
    folded: String,
}

/// One of them.
pub(super) struct Stack<'a> {
    pub thread: &'a str,
    /// From the outermost call to the innermost.
    pub frames: Vec<&'a str>,
    pub count: u64,
}

impl Stacks {
    /// Reads what `perf script` wrote with the fields `comm,pid,tid,time,event,ip,sym,dso`.
    pub fn of_perf(script: &[u8]) -> Result<Stacks> {
        let mut options = Options::default();
        options.annotate_kernel = true;
        let mut folded = Vec::new();
        Folder::from(options).collapse(script, &mut folded)?;
        let folded: String = String::from_utf8_lossy(&folded)
            .lines()
            .map(|line| demangled(line) + "\n")
            .collect();
        ensure!(!folded.is_empty(), "perf saw the nodes do nothing");
        Ok(Stacks { folded })
    }

    /// A line each: `thread;outermost;…;innermost count`.
    pub fn folded(&self) -> &str {
        &self.folded
    }

    pub fn count(&self) -> u64 {
        self.all().map(|stack| stack.count).sum()
    }

    pub(super) fn all(&self) -> impl Iterator<Item = Stack<'_>> {
        self.folded.lines().filter_map(|line| {
            let (stack, count) = line.rsplit_once(' ')?;
            let mut frames = stack.split(';');
            Some(Stack {
                thread: frames.next()?,
                frames: frames.collect(),
                count: count.parse().ok()?,
            })
        })
    }
}

/// The name of a kernel's frame without its mark.
pub(super) fn of_kernel(frame: &str) -> Option<&str> {
    frame.strip_suffix(KERNEL)
}

/// perf knows the older of Rust's two ways to write a symbol, not the newer.
fn demangled(line: &str) -> String {
    if !line.contains(";_R") {
        return line.to_owned();
    }
    let frame = |frame: &str| match frame.starts_with("_R") {
        // A semicolon would end the frame.
        true => format!("{:#}", rustc_demangle::demangle(frame)).replace(';', ":"),
        false => frame.to_owned(),
    };
    let (stack, count) = line.rsplit_once(' ').unwrap_or((line, "0"));
    let frames: Vec<_> = stack.split(';').map(frame).collect();
    format!("{} {count}", frames.join(";"))
}

#[cfg(test)]
impl Stacks {
    pub(super) fn of_folded(folded: &str) -> Stacks {
        Stacks {
            folded: folded.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCRIPT: &str = "\
consensus  100/101   12.000001: cycles:
\tffffffff81000001 tcp_sendmsg+0x10 ([kernel.kallsyms])
\t    55d000000010 reeve_registry::consensus::propose::run+0x20 (/x/reeve-registry)
\t    55d000000020 _RNvNtCsgEmfK2I1SDS_4core3ptr4copy+0x2 (/x/reeve-registry)

consensus  100/101   12.000003: cycles:
\tffffffff81000009 tcp_sendmsg+0x18 ([kernel.kallsyms])
\t    55d000000010 reeve_registry::consensus::propose::run+0x28 (/x/reeve-registry)
\t    55d000000020 _RNvNtCsgEmfK2I1SDS_4core3ptr4copy+0x2 (/x/reeve-registry)

archive  100/102   12.000005: cycles:
\t    7f0000000010 [unknown] (/usr/lib/libc.so.6)

";

    #[test]
    fn the_same_stack_is_counted_whatever_the_place_in_its_functions() {
        let stacks = Stacks::of_perf(SCRIPT.as_bytes()).unwrap();
        assert_eq!(stacks.count(), 3);
        let all: Vec<_> = stacks.all().collect();
        assert_eq!(
            (all[0].thread, &all[0].frames[..]),
            ("archive", &["[libc.so.6]"][..])
        );
        let wanted = [
            "core::ptr::copy",
            "reeve_registry::consensus::propose::run",
            "tcp_sendmsg_[k]",
        ];
        assert_eq!(
            (&all[1].frames[..], all[1].count),
            (&wanted[..], 2),
            "{}",
            stacks.folded()
        );
        assert_eq!(of_kernel(all[1].frames[2]), Some("tcp_sendmsg"));
    }

    #[test]
    fn a_recording_of_nothing_is_an_error() {
        assert!(Stacks::of_perf(b"").is_err());
    }
}

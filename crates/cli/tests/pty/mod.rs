//! A program on a real terminal of a given width: what stands there, what is typed, how it ended.
#![allow(dead_code, reason = "each test uses its own part of it")]

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use parking_lot::Mutex;
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

const PATIENCE: Duration = Duration::from_secs(60);

pub struct Terminal {
    child: Child,
    ours: File,
    text: Arc<Mutex<Vec<u8>>>,
    reader: Option<JoinHandle<()>>,
}

impl Terminal {
    /// Starts a program on one: its input, its output and its errors.
    pub fn run(width: u16, command: &mut Command) -> Result<Terminal> {
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
        grantpt(&ours)?;
        unlockpt(&ours)?;
        let size = Winsize {
            ws_row: 40,
            ws_col: width,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&ours, size)?;
        let name = ptsname(&ours, Vec::new())?;
        let theirs = File::options()
            .read(true)
            .write(true)
            .custom_flags(OpenptFlags::NOCTTY.bits() as i32)
            .open(Path::new(std::str::from_utf8(name.as_bytes())?))?;
        let child = command
            .stdin(Stdio::from(theirs.try_clone()?))
            .stdout(Stdio::from(theirs.try_clone()?))
            .stderr(Stdio::from(theirs))
            .spawn()?;
        // The builder holds ends of its own.
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let ours = File::from(ours);
        let text = Arc::new(Mutex::new(Vec::new()));
        let (mut from, into) = (ours.try_clone()?, text.clone());
        // Until nobody has the other end any more, which a terminal says with an error.
        let reader = std::thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(read @ 1..) = from.read(&mut piece) {
                into.lock().extend_from_slice(&piece[..read]);
            }
        });
        Ok(Terminal {
            child,
            ours,
            text,
            reader: Some(reader),
        })
    }

    /// Everything that came so far.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.text.lock()).replace("\r\n", "\n")
    }

    /// Waits until this stands there.
    pub fn wait_for(&self, words: &str) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        while !self.text().contains(words) {
            ensure!(Instant::now() < end, "{words:?} never came:\n{}", self.text());
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    pub fn types(&mut self, line: &str) -> Result<()> {
        Ok(self.ours.write_all(format!("{line}\n").as_bytes())?)
    }

    /// What Ctrl-C sends.
    pub fn interrupt(&self) -> Result<()> {
        let pid = Pid::from_raw(self.child.id().try_into()?).context("no process")?;
        Ok(kill_process(pid, Signal::INT)?)
    }

    /// How it ended, and everything that stood there.
    pub fn ended(mut self) -> Result<(Option<i32>, String)> {
        let end = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait()? {
                break status;
            }
            ensure!(Instant::now() < end, "it does not end:\n{}", self.text());
            std::thread::sleep(Duration::from_millis(10));
        };
        if let Some(reader) = self.reader.take() {
            reader.join().ok().context("the reader broke")?;
        }
        Ok((status.code(), self.text()))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

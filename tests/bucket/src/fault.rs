//! What goes wrong, and for whom.

use parking_lot::Mutex;

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is answered with 503 and `SlowDown`.
    Busy,
    /// So many bytes of it are taken, and then nothing happens any more.
    Stall { after: usize },
    /// So many bytes of it are taken, and then the connection ends.
    Cut { after: usize },
    /// It is carried out, and the connection ends instead of the answer.
    LoseAnswer,
    /// One bit of the answer is another one.
    FlipAnswer { byte: usize },
    /// So many bytes of the answer come, and then the connection ends.
    CutAnswer { after: usize },
}

/// Which requests, how often, and what.
#[derive(Clone, Debug)]
pub struct Rule {
    pub method: &'static str,
    /// What the path and query must hold.
    pub holds: &'static str,
    /// So many requests pass first.
    pub skip: usize,
    pub times: usize,
    pub fault: Fault,
}

impl Rule {
    /// Each of these requests.
    pub fn each(method: &'static str, holds: &'static str, fault: Fault) -> Rule {
        Rule {
            method,
            holds,
            skip: 0,
            times: usize::MAX,
            fault,
        }
    }

    /// Only the first ones.
    pub fn first(times: usize, method: &'static str, holds: &'static str, fault: Fault) -> Rule {
        Rule {
            times,
            ..Rule::each(method, holds, fault)
        }
    }
}

#[derive(Default)]
pub(crate) struct Faults(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    rules: Vec<Rule>,
    met: usize,
    asked: Vec<String>,
}

impl Faults {
    pub(crate) fn add(&self, rule: Rule) {
        self.0.lock().rules.push(rule);
    }

    pub(crate) fn clear(&self) {
        self.0.lock().rules.clear();
    }

    /// What becomes of this one.
    pub(crate) fn judge(&self, method: &str, path: &str) -> Option<Fault> {
        let mut inner = self.0.lock();
        inner
            .asked
            .push(format!("{method} {}", path.trim_start_matches('/')));
        let fits = |rule: &&mut Rule| rule.times > 0 && rule.method == method && path.contains(rule.holds);
        let rule = inner.rules.iter_mut().find(fits)?;
        if rule.skip > 0 {
            rule.skip -= 1;
            return None;
        }
        rule.times = rule.times.saturating_sub(1);
        Some(rule.fault)
    }

    /// A fault has begun: what it takes was taken.
    pub(crate) fn meet(&self) {
        self.0.lock().met += 1;
    }

    pub(crate) fn met(&self) -> usize {
        self.0.lock().met
    }

    pub(crate) fn asked(&self) -> Vec<String> {
        self.0.lock().asked.clone()
    }
}

//! Wing and Gong's search with Lowe's memory: an operation is placed as early as may be, and no set of placed
//! operations is tried twice in the same state.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use super::{Answer, EventOf, Model};

/// Steps of the search for one key before it gives up.
const STEPS_MAX: u64 = 20_000_000;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Linearizable,
    /// One key, and the operations that found no place behind the longest order.
    Not(Contradiction),
    /// The search would take too long.
    Undecided {
        key: String,
    },
}

/// Where a history contradicts itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contradiction {
    pub key: String,
    /// The longest order that was found, then what could not follow it.
    pub order: Vec<String>,
    pub stuck: Vec<String>,
}

impl fmt::Display for Contradiction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{}: no order explains these answers; the longest one that was found:",
            self.key
        )?;
        let skipped = self.order.len().saturating_sub(8);
        if skipped > 0 {
            writeln!(f, "    … {skipped} before")?;
        }
        for placed in &self.order[skipped..] {
            writeln!(f, "    {placed}")?;
        }
        for stuck in &self.stuck {
            writeln!(f, "  ✗ {stuck}")?;
        }
        Ok(())
    }
}

/// Judges each key by itself.
pub fn check<M: Model>(events: &[EventOf<M>]) -> Verdict {
    let mut keys: BTreeMap<&str, Vec<&EventOf<M>>> = BTreeMap::new();
    for event in events
        .iter()
        .filter(|event| !matches!(event.answer, Answer::Failed))
    {
        keys.entry(&event.key).or_default().push(event);
    }
    for (key, events) in keys {
        match Search::<M>::new(key, events).run() {
            Verdict::Linearizable => {}
            verdict => return verdict,
        }
    }
    Verdict::Linearizable
}

/// A call or an answer, in the list of those that are not placed yet.
struct Node {
    op: usize,
    is_answer: bool,
    previous: usize,
    next: usize,
}

struct Search<'a, M: Model> {
    key: &'a str,
    events: Vec<&'a EventOf<M>>,
    /// In the order of time; the first one stands before all of them.
    nodes: Vec<Node>,
    /// Of each operation, where its answer stands.
    answers: Vec<Option<usize>>,
    answers_left: usize,
}

const HEAD: usize = 0;
const END: usize = usize::MAX;

impl<'a, M: Model> Search<'a, M> {
    fn new(key: &'a str, events: Vec<&'a EventOf<M>>) -> Search<'a, M> {
        // At the same time a call counts as before an answer: then they overlapped.
        let mut moments: Vec<(u64, bool, usize)> = Vec::new();
        for (op, event) in events.iter().enumerate() {
            moments.push((event.asked_ns, false, op));
            if let Answer::Known { at_ns, .. } = event.answer {
                moments.push((at_ns, true, op));
            }
        }
        moments.sort_unstable();
        let mut answers = vec![None; events.len()];
        let head = Node {
            op: END,
            is_answer: false,
            previous: END,
            next: if moments.is_empty() { END } else { 1 },
        };
        let mut nodes = vec![head];
        for (at, (_, is_answer, op)) in moments.iter().enumerate() {
            if *is_answer {
                answers[*op] = Some(at + 1);
            }
            nodes.push(Node {
                op: *op,
                is_answer: *is_answer,
                previous: at,
                next: if at + 1 == moments.len() { END } else { at + 2 },
            });
        }
        let answers_left = answers.iter().flatten().count();
        Search {
            key,
            events,
            nodes,
            answers,
            answers_left,
        }
    }

    fn run(mut self) -> Verdict {
        let mut placed = Placed::new(self.events.len());
        let mut seen: HashSet<(Placed, M::State)> = HashSet::new();
        let mut state = M::State::default();
        let mut order: Vec<(usize, M::State)> = Vec::new();
        let mut longest: Vec<usize> = Vec::new();
        let mut at = self.nodes[HEAD].next;
        let mut steps = 0;
        while self.answers_left > 0 {
            steps += 1;
            if steps > STEPS_MAX {
                return Verdict::Undecided {
                    key: self.key.to_owned(),
                };
            }
            let node = &self.nodes[at];
            if node.is_answer {
                // Its operation had to be placed before this point.
                if order.len() > longest.len() {
                    longest = order.iter().map(|(call, _)| self.nodes[*call].op).collect();
                }
                let Some((call, before)) = order.pop() else {
                    return Verdict::Not(self.contradiction(&longest));
                };
                state = before;
                placed.take(self.nodes[call].op);
                self.put_back(call);
                at = self.nodes[call].next;
                continue;
            }
            let (op, next) = (node.op, node.next);
            let event = self.events[op];
            let after = M::step(&state, &event.op, event.said()).filter(|after| {
                let with = placed.with(op);
                seen.insert((with, after.clone()))
            });
            match after {
                Some(after) => {
                    order.push((at, std::mem::replace(&mut state, after)));
                    placed.put(op);
                    self.take_out(at);
                    at = self.nodes[HEAD].next;
                }
                None => at = next,
            }
        }
        Verdict::Linearizable
    }

    /// Takes a call out of the list, and its answer with it.
    fn take_out(&mut self, call: usize) {
        self.unlink(call);
        if let Some(answer) = self.answers[self.nodes[call].op] {
            self.unlink(answer);
            self.answers_left -= 1;
        }
    }

    fn put_back(&mut self, call: usize) {
        if let Some(answer) = self.answers[self.nodes[call].op] {
            self.link(answer);
            self.answers_left += 1;
        }
        self.link(call);
    }

    fn unlink(&mut self, at: usize) {
        let (previous, next) = (self.nodes[at].previous, self.nodes[at].next);
        self.nodes[previous].next = next;
        if next != END {
            self.nodes[next].previous = previous;
        }
    }

    fn link(&mut self, at: usize) {
        let (previous, next) = (self.nodes[at].previous, self.nodes[at].next);
        self.nodes[previous].next = at;
        if next != END {
            self.nodes[next].previous = at;
        }
    }

    fn contradiction(&self, longest: &[usize]) -> Contradiction {
        let told = |op: &usize| {
            let event = self.events[*op];
            let ms = |ns: u64| ns as f64 / 1e6;
            let (asked, op, client) = (ms(event.asked_ns), &event.op, event.client);
            match &event.answer {
                Answer::Known { said, at_ns } => {
                    format!(
                        "{asked:9.3} to {:9.3} ms  client {client}: {op:?} → {said:?}",
                        ms(*at_ns)
                    )
                }
                _ => format!("{asked:9.3} ms on  client {client}: {op:?} → never heard of"),
            }
        };
        let is_placed = |op: &usize| longest.contains(op);
        let open = (0..self.events.len()).filter(|op| !is_placed(op));
        // What had to come next: the one that was over first, and all that ran beside it.
        let first_over = open
            .clone()
            .map(|op| self.events[op].over_ns())
            .min()
            .unwrap_or_default();
        let stuck = open.filter(|op| self.events[*op].asked_ns <= first_over);
        Contradiction {
            key: self.key.to_owned(),
            order: longest.iter().map(told).collect(),
            stuck: stuck.map(|op| told(&op)).collect(),
        }
    }
}

/// A set of operations.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Placed(Vec<u64>);

impl Placed {
    fn new(count: usize) -> Placed {
        Placed(vec![0; count.div_ceil(64)])
    }

    fn put(&mut self, op: usize) {
        self.0[op / 64] |= 1 << (op % 64);
    }

    fn take(&mut self, op: usize) {
        self.0[op / 64] &= !(1 << (op % 64));
    }

    fn with(&self, op: usize) -> Placed {
        let mut with = self.clone();
        with.put(op);
        with
    }
}

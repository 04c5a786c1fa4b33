//! Whose archive is whole, and up to where, as the nodes told the leader: a node that lacks a part of the audit log is
//! not counted on.
//!
//! A node that is whole now may take a snapshot in at the next moment, and lack all that lies before it. So a word holds
//! for a moment only, up to the entry that it names, and for the leader that asked.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use reeve_proto::internal::v1 as wire;
use tokio::time::Instant;

use super::Consensus;

/// A word that is older counts for nothing.
const LATELY: Duration = Duration::from_secs(2);
/// When none of the voters has been whole for so long, nobody can give the others what they lack.
const NOBODY_MAX: Duration = Duration::from_secs(10);

/// What a node said when it was asked.
#[derive(Clone, Copy, Debug)]
struct Word {
    question: Question,
    /// None: it has a hole.
    whole: Option<Whole>,
}

/// When the leader asked, in which term, and how long its log was then.
#[derive(Clone, Copy, Debug)]
pub(super) struct Question {
    pub(super) term: u64,
    pub(super) at: Instant,
    pub(super) last_index: u64,
}

/// Nothing is missing in an archive up to an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Whole {
    pub(super) upto: u64,
    /// Entries that the leader had behind it when it asked.
    pub(super) lag: u64,
}

/// What the nodes said last.
#[derive(Clone, Default)]
pub(super) struct Wholes(Arc<Mutex<BTreeMap<u64, Word>>>);

impl Wholes {
    /// A node answered. A word is as old as its question; one that was overtaken is not heard.
    pub(super) fn heard(&self, node: u64, question: Question, answer: &wire::LeadResponse) {
        // An older program does not say how far.
        let upto = answer
            .archive_whole
            .then(|| answer.archive_whole_index.unwrap_or(u64::MAX));
        let whole = upto.map(|upto| Whole {
            upto,
            lag: question.last_index.saturating_sub(upto),
        });
        let mut words = self.0.lock();
        let asked = |question: &Question| (question.term, question.at);
        let is_newer = |last: &Word| asked(&last.question) <= asked(&question);
        if words.get(&node).is_none_or(is_newer) {
            words.insert(node, Word { question, whole });
        }
    }

    /// Another node leads.
    pub(super) fn forget(&self) {
        self.0.lock().clear();
    }

    /// Who was whole a moment ago, as the leader of this term heard.
    pub(super) fn lately(&self, term: u64, now: Instant) -> BTreeMap<u64, Whole> {
        let words = self.0.lock();
        let counts = |question: &Question| {
            question.term == term && now.saturating_duration_since(question.at) <= LATELY
        };
        let heard = words.iter().filter(|(_, word)| counts(&word.question));
        heard.filter_map(|(id, word)| Some((*id, word.whole?))).collect()
    }
}

/// Since when none of the voters is known to be whole.
#[derive(Debug, Default)]
pub(super) struct Nobody(Option<Instant>);

impl Nobody {
    /// Whether that has been so for too long to wait for it.
    pub(super) fn is_whole(&mut self, is_any: bool, now: Instant) -> bool {
        match is_any {
            true => self.0 = None,
            false => _ = self.0.get_or_insert(now),
        }
        self.0
            .is_some_and(|since| now.saturating_duration_since(since) >= NOBODY_MAX)
    }
}

impl Consensus {
    /// Up to where this node's own archive is whole. None: it has a hole.
    pub(super) fn own_whole(&self) -> Option<u64> {
        // In this order: what a snapshot leaves out is known to be missing before its State is published.
        let applied_index = self.published().applied_index;
        self.handlers().archive_is_whole().then_some(applied_index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(whole: bool, upto: Option<u64>) -> wire::LeadResponse {
        wire::LeadResponse {
            archive_whole: whole,
            archive_whole_index: upto,
            ..Default::default()
        }
    }

    fn asked(term: u64, at: Instant) -> Question {
        Question {
            term,
            at,
            last_index: 1000,
        }
    }

    #[test]
    fn a_word_counts_for_a_moment_for_the_leader_that_asked() {
        let (wholes, start) = (Wholes::default(), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        wholes.heard(2, asked(3, at(0)), &said(true, Some(990)));
        let whole = Whole { upto: 990, lag: 10 };
        assert_eq!(wholes.lately(3, at(1_900)), [(2, whole)].into());
        assert_eq!(wholes.lately(3, at(2_100)), [].into(), "it is old");
        assert_eq!(wholes.lately(4, at(100)), [].into(), "another leader heard it");
        wholes.forget();
        assert_eq!(wholes.lately(3, at(100)), [].into());
    }

    #[test]
    fn the_answer_to_the_latest_question_counts() {
        let (wholes, start) = (Wholes::default(), Instant::now());
        let later = start + Duration::from_millis(100);
        wholes.heard(2, asked(3, later), &said(false, None));
        wholes.heard(2, asked(3, start), &said(true, Some(1000)));
        assert_eq!(
            wholes.lately(3, later),
            [].into(),
            "it was whole before, and is not now"
        );
        wholes.heard(2, asked(3, later), &said(true, None));
        let older = Whole {
            upto: u64::MAX,
            lag: 0,
        };
        assert_eq!(wholes.lately(3, later), [(2, older)].into(), "an older program");
    }

    #[test]
    fn that_nobody_is_whole_is_believed_after_a_while() {
        let (mut nobody, start) = (Nobody::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(!nobody.is_whole(false, at(0)));
        assert!(!nobody.is_whole(false, at(9)));
        assert!(nobody.is_whole(false, at(10)));
        assert!(!nobody.is_whole(true, at(11)));
        assert!(!nobody.is_whole(false, at(12)));
        assert!(!nobody.is_whole(false, at(21)));
    }
}

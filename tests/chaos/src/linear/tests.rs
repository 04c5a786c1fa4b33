//! The checkers are checked: against each other on random histories, and on the classic cases.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use super::register::{Op, Register, Said};
use super::{Answer, Event, Verdict, brute, check};

type Seen = Event<Op, Said>;

fn event(client: usize, op: Op, asked_ns: u64, said: Said, at_ns: u64) -> Seen {
    Event {
        client,
        key: "cho-ray".into(),
        op,
        asked_ns,
        answer: Answer::Known { said, at_ns },
    }
}

fn write(client: usize, value: &str, asked_ns: u64, revision: u64, at_ns: u64) -> Seen {
    event(
        client,
        Op::Write(value.into()),
        asked_ns,
        Said::Done { revision },
        at_ns,
    )
}

fn read(client: usize, value: &str, changed: u64, asked_ns: u64, at_ns: u64) -> Seen {
    let value = value.into();
    event(client, Op::Read, asked_ns, Said::Value { value, changed }, at_ns)
}

fn unheard(client: usize, op: Op, asked_ns: u64) -> Seen {
    Event {
        answer: Answer::Unknown,
        ..event(client, op, asked_ns, Said::Stale, 0)
    }
}

fn holds(events: &[Seen]) -> bool {
    let verdict = check::<Register>(events);
    let slow = brute::is_linearizable::<Register>(events);
    assert_eq!(verdict == Verdict::Linearizable, slow, "{verdict:?}\n{events:#?}");
    slow
}

#[test]
fn the_classic_cases_are_told_apart() {
    let w1 = write(1, "a", 0, 5, 10);
    assert!(holds(&[w1.clone(), read(2, "a", 5, 11, 12)]));
    assert!(holds(&[
        w1.clone(),
        write(2, "b", 5, 6, 20),
        read(3, "b", 6, 12, 30)
    ]));
    let stale = [w1.clone(), write(1, "b", 11, 6, 12), read(2, "a", 5, 13, 14)];
    assert!(!holds(&stale), "a stale read");
    let lost = [
        w1.clone(),
        write(2, "b", 11, 6, 12),
        read(1, "a", 5, 13, 14),
        read(2, "b", 6, 15, 16),
    ];
    assert!(!holds(&lost), "a lost update that comes back");
    let back = [
        w1.clone(),
        write(2, "b", 11, 6, 40),
        read(3, "b", 6, 12, 13),
        read(4, "a", 5, 14, 15),
    ];
    assert!(!holds(&back), "reads of two clients that go back");
    assert!(
        !holds(&[w1.clone(), write(2, "b", 11, 5, 12)]),
        "a revision that is used again"
    );
    assert!(
        !holds(&[w1.clone(), read(2, "a", 4, 11, 12)]),
        "a change that nobody made there"
    );

    let never = unheard(2, Op::Write("b".into()), 11);
    assert!(
        holds(&[
            w1.clone(),
            never.clone(),
            read(3, "a", 5, 20, 21),
            read(3, "b", 9, 22, 23)
        ]),
        "it came late"
    );
    assert!(
        holds(&[w1.clone(), never.clone(), read(3, "a", 5, 20, 21)]),
        "it never came"
    );
    assert!(
        !holds(&[
            w1.clone(),
            never,
            read(3, "b", 9, 20, 21),
            read(3, "a", 5, 22, 23)
        ]),
        "it went away again"
    );
    let failed = Event {
        answer: Answer::Failed,
        ..unheard(2, Op::Write("b".into()), 11)
    };
    assert!(
        !holds(&[w1.clone(), failed, read(3, "b", 9, 20, 21)]),
        "what was not done is read"
    );

    let set = |changed, asked, said, at| {
        event(
            3,
            Op::CompareAndSet {
                changed,
                value: "c".into(),
            },
            asked,
            said,
            at,
        )
    };
    assert!(holds(&[
        w1.clone(),
        set(5, 11, Said::Done { revision: 6 }, 12),
        read(1, "c", 6, 13, 14)
    ]));
    assert!(holds(&[
        w1.clone(),
        set(4, 11, Said::Stale, 12),
        read(1, "a", 5, 13, 14)
    ]));
    assert!(
        !holds(&[w1.clone(), set(4, 11, Said::Done { revision: 6 }, 12)]),
        "set over a change that it did not know"
    );
    assert!(
        !holds(&[w1.clone(), set(5, 11, Said::Stale, 12)]),
        "refused although nothing had changed"
    );
}

/// Clients on a store that does one thing at a time; one answer in so many is not heard.
fn truthful(chance: &mut StdRng, ops: usize, clients: usize, unheard_in: u32) -> Vec<Seen> {
    let mut events = Vec::new();
    let (mut value, mut changed, mut revision) = (String::new(), 0, 0);
    let mut free = vec![0u64; clients];
    let mut done_ns = 0;
    for number in 0..ops {
        let client = (0..clients)
            .min_by_key(|client| (free[*client], *client))
            .unwrap();
        let asked_ns = free[client] + chance.random_range(1..20);
        // The moment at which it is done lies between question and answer, and behind all those before it.
        done_ns = asked_ns.max(done_ns + 1) + chance.random_range(0..5);
        let at_ns = done_ns + chance.random_range(0..30);
        free[client] = at_ns;
        let (op, said, written) = match chance.random_range(0..4) {
            0 | 1 => (
                Op::Read,
                Said::Value {
                    value: value.clone(),
                    changed,
                },
                None,
            ),
            2 => {
                revision += chance.random_range(1..3);
                let new = format!("v{number}");
                (Op::Write(new.clone()), Said::Done { revision }, Some(new))
            }
            _ => {
                let expected = if chance.random_bool(0.6) {
                    changed
                } else {
                    changed.saturating_sub(1)
                };
                let new = format!("c{number}");
                let op = Op::CompareAndSet {
                    changed: expected,
                    value: new.clone(),
                };
                if expected == changed && changed > 0 {
                    revision += 1;
                    (op, Said::Done { revision }, Some(new))
                } else if expected == changed {
                    // Before the first change everything is unknown.
                    (
                        Op::Read,
                        Said::Value {
                            value: value.clone(),
                            changed,
                        },
                        None,
                    )
                } else {
                    (op, Said::Stale, None)
                }
            }
        };
        if let Some(new) = written {
            (value, changed) = (new, revision);
        }
        let mut event = event(client, op, asked_ns, said, at_ns);
        if chance.random_range(0..unheard_in) == 0 {
            event.answer = Answer::Unknown;
        }
        events.push(event);
    }
    events
}

/// One thing about it is changed: a time, or an answer.
fn lie(chance: &mut StdRng, events: &mut [Seen]) {
    let said: Vec<Said> = events.iter().filter_map(|event| event.said().cloned()).collect();
    let at = chance.random_range(0..events.len());
    let event = &mut events[at];
    let Answer::Known { said: now, at_ns } = &mut event.answer else {
        return;
    };
    match chance.random_range(0..3) {
        0 => *at_ns = event.asked_ns,
        1 => {
            let same_kind = |other: &&Said| std::mem::discriminant(*other) == std::mem::discriminant(now);
            let others: Vec<&Said> = said.iter().filter(same_kind).collect();
            if let Some(other) = others.choose(chance) {
                *now = (*other).clone();
            }
        }
        _ => event.asked_ns = *at_ns,
    }
}

#[test]
fn both_checkers_agree_on_thousands_of_small_histories() {
    let (mut yes, mut no) = (0, 0);
    for seed in 0..2_000 {
        let mut chance = StdRng::seed_from_u64(seed);
        let mut events = truthful(&mut chance, 6, 3, 10);
        if seed % 5 == 0 {
            assert!(holds(&events), "seed {seed}: the truth was not believed");
        }
        for _ in 0..seed % 5 {
            lie(&mut chance, &mut events);
        }
        match holds(&events) {
            true => yes += 1,
            false => no += 1,
        }
    }
    assert!(yes > 400 && no > 400, "{yes} hold and {no} do not");
}

#[test]
fn a_long_history_is_judged_and_its_contradiction_named() {
    let mut chance = StdRng::seed_from_u64(1);
    let mut events = truthful(&mut chance, 10_000, 10, 2_000);
    assert_eq!(check::<Register>(&events), Verdict::Linearizable);
    let lied = events
        .iter()
        .rposition(|event| matches!(event.said(), Some(Said::Value { .. })))
        .unwrap();
    let Answer::Known { said, .. } = &mut events[lied].answer else {
        unreachable!()
    };
    *said = Said::Value {
        value: "never written".into(),
        changed: 3,
    };
    let Verdict::Not(found) = check::<Register>(&events) else {
        panic!("it was believed")
    };
    assert!(found.to_string().contains("never written"), "{found}");
}

#[test]
fn keys_are_judged_each_by_itself_and_a_history_is_kept_line_by_line() {
    let mut other = write(2, "b", 11, 5, 12);
    other.key = "bach-mai".into();
    let events = [write(1, "a", 0, 5, 10), other];
    assert_eq!(check::<Register>(&events), Verdict::Linearizable);
    let lines = super::history::to_lines(&events).unwrap();
    let again: Vec<Seen> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(again, events);
}

//! Steps: one goal each, which its addressee checks, makes true and proves.

use serde::{Deserialize, Serialize};

use crate::ids::Stamp;
use crate::operation::Kind;
use crate::version;
use crate::words::Name;

/// One step of an operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    pub goal: Goal,
    pub addressee: Addressee,
    pub state: StepState,
    /// Number of the try at work. With the direction it names one try for ever: it is never used again.
    pub attempt: u32,
    /// Number of the first try since the step was opened.
    pub first_attempt: u32,
    /// Highest number of a try back; undoing a second time goes on from here.
    pub tried_back: u32,
    pub started: Option<Stamp>,
    pub ended: Option<Stamp>,
    pub proof: Vec<String>,
    pub error: String,
    pub timeout_ms: u64,
}

/// What shall be true.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Goal {
    CreateRoles,
    CreateDatabase,
    OpenDoors,
    Migrate,
    Seed,
    Probe,
    Activate,
    CloseDoors,
    DropDatabase,
    DropRoles,
    ProveAbsence,
    Release,
    /// Nothing that an audit finds keeps the tenant from being let in.
    Audit,
    /// The doors are open to whom the operation wants, and shut for everybody else.
    ChangeDoors,
    /// The tenant's own list is the one that was wanted.
    KeepDoors,
    /// The login that is not in use lets in with the next password.
    PrepareLogin,
    /// The next password is the one in force.
    PublishCredential,
    /// Nobody holds an earlier password, or the grace is over.
    DrainClients,
    /// The former login lets nobody in, and nobody is inside with it.
    RetireLogin,
}

impl Goal {
    /// All of them.
    pub const ALL: [Goal; 19] = [
        Goal::CreateRoles,
        Goal::CreateDatabase,
        Goal::OpenDoors,
        Goal::Migrate,
        Goal::Seed,
        Goal::Probe,
        Goal::Activate,
        Goal::CloseDoors,
        Goal::DropDatabase,
        Goal::DropRoles,
        Goal::ProveAbsence,
        Goal::Release,
        Goal::Audit,
        Goal::ChangeDoors,
        Goal::KeepDoors,
        Goal::PrepareLogin,
        Goal::PublishCredential,
        Goal::DrainClients,
        Goal::RetireLogin,
    ];

    /// Its name on the wire and on the operator's screen.
    pub fn word(self) -> &'static str {
        match self {
            Goal::CreateRoles => "create_roles",
            Goal::CreateDatabase => "create_database",
            Goal::OpenDoors => "open_doors",
            Goal::Migrate => "migrate",
            Goal::Seed => "seed",
            Goal::Probe => "probe",
            Goal::Activate => "activate",
            Goal::CloseDoors => "close_doors",
            Goal::DropDatabase => "drop_database",
            Goal::DropRoles => "drop_roles",
            Goal::ProveAbsence => "prove_absence",
            Goal::Release => "release",
            Goal::Audit => "audit",
            Goal::ChangeDoors => "change_doors",
            Goal::KeepDoors => "keep_doors",
            Goal::PrepareLogin => "prepare_login",
            Goal::PublishCredential => "publish_credential",
            Goal::DrainClients => "drain_clients",
            Goal::RetireLogin => "retire_login",
        }
    }

    /// Whether going back over it leaves something to take away.
    pub fn leaves_something(self) -> bool {
        matches!(
            self,
            Goal::CreateRoles
                | Goal::CreateDatabase
                | Goal::OpenDoors
                | Goal::ChangeDoors
                | Goal::PrepareLogin
        )
    }

    fn timeout_ms(self) -> u64 {
        match self {
            Goal::Migrate | Goal::Seed => 600_000,
            _ => 60_000,
        }
    }
}

/// Who carries a step out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Addressee {
    /// The state machine itself: done in the same change that reaches it.
    Registry,
    /// The agent of a member.
    Agent(Name),
}

/// Where a step stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum StepState {
    Waiting,
    Open,
    Done,
    Failed,
    Undoing,
    Undone,
}

/// Which way an operation goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Direction {
    Forward,
    Undo,
}

impl Step {
    /// A step that nobody has begun.
    pub fn new(goal: Goal, addressee: Addressee) -> Step {
        Step {
            goal,
            addressee,
            state: StepState::Waiting,
            attempt: 0,
            first_attempt: 0,
            tried_back: 0,
            started: None,
            ended: None,
            proof: Vec::new(),
            error: String::new(),
            timeout_ms: goal.timeout_ms(),
        }
    }

    /// Begins the first try forwards.
    pub fn open(&mut self, at: Stamp) {
        self.state = StepState::Open;
        self.attempt = 1;
        self.first_attempt = 1;
        self.started = Some(at);
        self.ended = None;
    }

    /// Begins the next try, in the direction it goes.
    pub fn open_again(&mut self, at: Stamp, direction: Direction) {
        self.attempt += 1;
        if direction == Direction::Undo {
            self.tried_back = self.attempt;
        }
        self.started = Some(at);
    }

    /// Begins the next try forwards, as if it were the first.
    pub fn open_anew(&mut self, at: Stamp) {
        self.state = StepState::Open;
        self.attempt += 1;
        self.first_attempt = self.attempt;
        self.started = Some(at);
        self.ended = None;
    }

    /// How many tries were made since the step was opened.
    pub fn tries(&self) -> u32 {
        self.attempt + 1 - self.first_attempt
    }

    /// Begins to take it back, with a number that no earlier try had.
    pub fn open_undo(&mut self, at: Stamp) {
        self.state = StepState::Undoing;
        self.attempt = self.tried_back + 1;
        self.first_attempt = self.attempt;
        self.tried_back = self.attempt;
        self.started = Some(at);
        self.ended = None;
    }
}

/// The steps of a kind, in order, as a cluster at a version knows them.
pub fn steps(kind: Kind, agent: &Name, version: u32) -> Vec<Step> {
    let goals: &[Goal] = match kind {
        Kind::Onboard => &[
            Goal::CreateRoles,
            Goal::CreateDatabase,
            Goal::OpenDoors,
            Goal::Migrate,
            Goal::Seed,
            Goal::Probe,
            Goal::Audit,
            Goal::Activate,
        ],
        Kind::Offboard => &[
            Goal::CloseDoors,
            Goal::DropDatabase,
            Goal::DropRoles,
            Goal::ProveAbsence,
            Goal::Release,
        ],
        Kind::Scan => &[Goal::Audit, Goal::Probe],
        Kind::Allow => &[Goal::ChangeDoors, Goal::KeepDoors],
        Kind::Rotate => &[
            Goal::PrepareLogin,
            Goal::PublishCredential,
            Goal::DrainClients,
            Goal::RetireLogin,
        ],
    };
    let addressee = |goal: Goal| match goal {
        Goal::Activate | Goal::Release | Goal::KeepDoors | Goal::PublishCredential | Goal::DrainClients => {
            Addressee::Registry
        }
        _ => Addressee::Agent(agent.clone()),
    };
    let known = goals
        .iter()
        .filter(|goal| version >= version::ISOLATION || **goal != Goal::Audit);
    known.map(|goal| Step::new(*goal, addressee(*goal))).collect()
}

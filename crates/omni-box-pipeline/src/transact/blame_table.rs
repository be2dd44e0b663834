//! Whom a group's failure is charged to: cause by cause, for groups of one and of several, while working and while recording.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on panics")]

use omni_box_core::ErrorKind::{
    self, Closed, Conflict, Contention, Internal, Invalid, Misconfigured, NoTransaction, Timeout,
    Unavailable, Unsupported,
};
use omni_box_core::{
    ConsumerGroup, Error, EventContent, InboundMessage, InboxEvent, NewInboxEvent, OmniBoxDomainService,
    Payload,
};

use super::blame::Doing::{self, Recording, Working};
use super::blame::{self, Evidence, Patience, Proof};
use super::cause::Stage::{Commit, Effect, Store};
use super::cause::{Cause, Stage};
use super::judgement;
use super::message::{Body, Item, Tries};

/// What the table says of a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Blame {
    /// Work ends.
    Stop,
    /// Nothing is tried for a while.
    Pause,
    /// The same, and afterwards messages go one at a time.
    PauseOneByOne,
    /// The next groups are half as large.
    Split,
    /// The message at this place ended its transaction, and is charged.
    Charge(usize),
    /// The only message is charged with the contention it met.
    ChargeContention,
    /// The only message is charged with infrastructure failures if the database answers others.
    Suspect,
    /// The message waits, having met contention so often.
    Contended(u32),
    /// The message waits, having been refused by its table so often.
    Unstored(u32),
    /// The message is kept as raw bytes.
    Raw,
    /// The group is formed anew.
    Nothing,
}
use Blame::{
    Charge, ChargeContention, Contended, Nothing, Pause, PauseOneByOne, Raw, Split, Stop, Suspect, Unstored,
};

/// A group of the table.
#[derive(Debug, Clone, Copy)]
enum Of {
    /// One message that is an event.
    One(Tried),
    /// One message that could not be decoded.
    Refused(Tried),
    /// One row that was stored before.
    Row(Tried),
    /// Three messages; the second was tried before.
    Three(Tried),
}
use Of::{One, Refused, Row, Three};

#[derive(Debug, Clone, Copy)]
enum Tried {
    /// Never before.
    Fresh,
    /// Met contention so often.
    Contentions(u32),
    /// Met infrastructure failures so often.
    Outages(u32),
    /// Could not be stored so often.
    Stores(u32),
}
use Tried::{Contentions, Fresh, Outages, Stores};

fn refused(kind: ErrorKind, stage: Stage) -> Cause {
    Cause::refused(Error::new(kind, "refused"), stage)
}

fn culprit(position: usize) -> Cause {
    Cause::culprit(position, judgement::Charge::counted("timed out"))
}

#[test]
fn each_failure_is_charged_as_the_table_says() {
    let unreachable = || Cause::Unreachable(Error::new(Unavailable, "unreachable"));
    for doing in [Working, Recording] {
        // the partition is lost, or there is no database: no message is charged
        check(|| Cause::Stopped, One(Fresh), doing, Stop);
        check(|| Cause::Stopped, Three(Fresh), doing, Stop);
        check(unreachable, One(Outages(9)), doing, Pause);
        check(unreachable, Three(Outages(9)), doing, Pause);
        let unanswered = || Cause::Unanswered(Error::new(Unavailable, "no answer"));
        check(unanswered, One(Outages(9)), doing, Pause);
        check(unanswered, Three(Outages(9)), doing, Pause);
        // a message that ended its transaction is named
        check(|| culprit(0), One(Fresh), doing, Charge(0));
        check(|| culprit(2), Three(Fresh), doing, Charge(2));
        check(|| culprit(3), Three(Fresh), doing, Nothing);
        // contention, and a row whose lock was not got in time
        for (kind, stage) in [(Contention, Store), (Contention, Effect), (Timeout, Store)] {
            check(|| refused(kind, stage), Three(Contentions(99)), doing, Split);
            check(|| refused(kind, stage), One(Fresh), doing, Contended(1));
            check(|| refused(kind, stage), One(Contentions(19)), doing, Contended(20));
            check(|| refused(kind, stage), Refused(Contentions(20)), doing, Contended(21));
        }
        // the database or the deployment
        for kind in [Unavailable, Closed, Misconfigured, NoTransaction, Unsupported] {
            for stage in [Store, Effect] {
                check(|| refused(kind, stage), One(Fresh), doing, Pause);
                check(|| refused(kind, stage), One(Outages(3)), doing, Pause);
                check(|| refused(kind, stage), Refused(Outages(9)), doing, Pause);
                check(|| refused(kind, stage), Three(Fresh), doing, Pause);
                check(|| refused(kind, stage), Three(Outages(1)), doing, PauseOneByOne);
            }
        }
        // what the database refuses of a message
        for kind in [Conflict, Internal, Invalid] {
            check(|| refused(kind, Store), Three(Fresh), doing, Split);
            check(|| refused(kind, Effect), Three(Fresh), doing, Split);
        }
        for kind in [Conflict, Internal] {
            check(|| refused(kind, Store), One(Fresh), doing, Unstored(1));
            check(|| refused(kind, Store), One(Stores(4)), doing, Unstored(5));
            check(|| refused(kind, Store), One(Stores(5)), doing, Raw);
            check(|| refused(kind, Store), Row(Stores(5)), doing, Unstored(6));
            check(|| refused(kind, Store), Refused(Stores(5)), doing, Unstored(6));
        }
        check(|| refused(Invalid, Store), One(Fresh), doing, Raw);
        check(|| refused(Invalid, Store), Row(Fresh), doing, Unstored(1));
        check(|| refused(Invalid, Store), Refused(Fresh), doing, Unstored(1));
    }
    for (kind, stage) in [(Contention, Store), (Contention, Effect), (Timeout, Store)] {
        check(|| refused(kind, stage), One(Contentions(20)), Working, ChargeContention);
        check(|| refused(kind, stage), Row(Contentions(20)), Working, ChargeContention);
        check(|| refused(kind, stage), One(Contentions(20)), Recording, Contended(21));
    }
    for kind in [Unavailable, Closed, Misconfigured, NoTransaction, Unsupported] {
        check(|| refused(kind, Effect), One(Outages(4)), Working, Suspect);
        check(|| refused(kind, Effect), Row(Outages(4)), Working, Suspect);
        check(|| refused(kind, Effect), One(Outages(4)), Recording, Pause);
    }
    for kind in [Conflict, Internal, Timeout, Invalid] {
        check(|| refused(kind, Effect), One(Fresh), Working, Charge(0));
        check(|| refused(kind, Effect), Row(Fresh), Working, Charge(0));
    }
    // a failure that cannot be recorded either is the row's own
    for kind in [Conflict, Internal, Timeout] {
        check(|| refused(kind, Effect), One(Fresh), Recording, Unstored(1));
        check(|| refused(kind, Effect), One(Stores(5)), Recording, Raw);
        check(|| refused(kind, Effect), Refused(Fresh), Working, Unstored(1));
    }
    check(|| refused(Invalid, Effect), One(Fresh), Recording, Raw);
    // the same at the commit
    for kind in [Conflict, Internal, Timeout, Invalid] {
        check(|| refused(kind, Commit), One(Fresh), Working, Charge(0));
        check(|| refused(kind, Commit), Three(Fresh), Working, Split);
        check(|| refused(kind, Commit), Refused(Fresh), Working, Unstored(1));
    }
    check(|| refused(Internal, Commit), One(Fresh), Recording, Unstored(1));
    check(|| refused(Internal, Commit), One(Stores(5)), Recording, Raw);
}

#[test]
fn a_message_that_is_refused_is_not_given_up_without_proof() {
    use Proof::{AnotherIsStored, AnotherWasKept, Needless};
    for tried in [Fresh, Stores(5)] {
        for kind in [Conflict, Internal] {
            for (stage, of, doing, expected) in [
                (Store, One(tried), Working, AnotherIsStored),
                (Store, Row(tried), Working, AnotherIsStored),
                (Store, One(tried), Recording, AnotherIsStored),
                (Effect, One(tried), Recording, AnotherIsStored),
                (Commit, One(tried), Recording, AnotherWasKept),
                (Store, Refused(tried), Working, Needless),
                (Commit, Refused(tried), Working, Needless),
            ] {
                let group = group(of);
                let group: Vec<&Item> = group.iter().collect();
                let decided = blame::blame(refused(kind, stage), &group, doing, Patience::default());
                let proof = match decided {
                    blame::Blame::Unstored { proof, .. } | blame::Blame::Raw { proof, .. } => Some(proof),
                    _ => None,
                };
                assert_eq!(proof, Some(expected), "{kind:?} at {stage:?} of {of:?} while {doing:?}");
            }
        }
    }
}

#[test]
fn patience_is_a_setting() {
    let patience = Patience { suspicious: 1, infrastructure: 1, contention: 0, store: 1 };
    let decide = |cause, of| observed(cause, of, Working, patience);
    assert_eq!(decide(refused(Contention, Store), One(Fresh)), ChargeContention);
    assert_eq!(decide(refused(Unavailable, Effect), One(Fresh)), Suspect);
    assert_eq!(decide(refused(Unavailable, Effect), Three(Fresh)), PauseOneByOne);
    assert_eq!(decide(refused(Internal, Store), One(Fresh)), Raw);
}

#[track_caller]
fn check(cause: impl Fn() -> Cause, of: Of, doing: Doing, expected: Blame) {
    let decided = observed(cause(), of, doing, Patience::default());
    assert_eq!(decided, expected, "{:?} of {of:?} while {doing:?}", cause());
}

fn observed(cause: Cause, of: Of, doing: Doing, patience: Patience) -> Blame {
    let group = group(of);
    match blame::blame(cause, &group.iter().collect::<Vec<_>>(), doing, patience) {
        blame::Blame::Stop => Stop,
        blame::Blame::NoMessage => Nothing,
        blame::Blame::Unreachable(_) | blame::Blame::Outage { is_suspicious: false, .. } => Pause,
        blame::Blame::Outage { is_suspicious: true, .. } => PauseOneByOne,
        blame::Blame::Split => Split,
        blame::Blame::Message { position, evidence: Evidence::Itself(_), .. } => Charge(position),
        blame::Blame::Message { position: 0, evidence: Evidence::Contention, .. } => ChargeContention,
        blame::Blame::Message { position: 0, evidence: Evidence::Infrastructure(_), .. } => Suspect,
        blame::Blame::Contention { failures } => Contended(failures),
        blame::Blame::Unstored { failures, .. } => Unstored(failures),
        blame::Blame::Raw { .. } => Raw,
        other @ blame::Blame::Message { .. } => panic!("{other:?} of one message"),
    }
}

fn group(of: Of) -> Vec<Item> {
    let (size, tried) = match of {
        One(tried) | Refused(tried) | Row(tried) => (1, tried),
        Three(tried) => (3, tried),
    };
    let item = |number| {
        let mut item = match of {
            Row(_) => Item::stored(event(number)),
            Refused(_) => Item::received(Body::Refused("no json".into()), message(number)),
            One(_) | Three(_) => Item::received(Body::Event(Box::new(event(number))), message(number)),
        };
        if size == 1 || number == 1 {
            item.tries = tries(tried);
        }
        item
    };
    (0..size).map(item).collect()
}

fn tries(tried: Tried) -> Tries {
    match tried {
        Fresh => Tries::default(),
        Contentions(contention) => Tries { contention, ..Tries::default() },
        Outages(infrastructure) => Tries { infrastructure, ..Tries::default() },
        Stores(persist) => Tries { persist, ..Tries::default() },
    }
}

fn event(number: usize) -> InboxEvent {
    let content = EventContent::new("order.placed", Payload::from_text("{}").unwrap());
    let group = ConsumerGroup::new("shipping").unwrap();
    let new = NewInboxEvent::new(format!("m{number}"), group, "shop", content);
    OmniBoxDomainService::default().create_inbox_event(new).unwrap()
}

fn message(number: usize) -> InboundMessage {
    InboundMessage {
        topic: "orders".into(),
        partition: 0,
        offset: i64::try_from(number).unwrap(),
        key: None,
        value: None,
        headers: Vec::new(),
        timestamp: None,
    }
}

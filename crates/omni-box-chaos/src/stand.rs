//! Where a program stands still, so that it can be killed there.

use std::fmt::Debug;
use std::future::pending;

use clap::Args;
use omni_box_testkit::{FaultPlan, Operation};

#[derive(Args)]
pub(crate) struct StandArgs {
    /// Where the program prints `frozen` and its work stands still: `handler`, `storage`, or a call of the store.
    #[arg(long, value_parser = place)]
    stand_at: Option<Place>,
    /// Behind that place, and not before it.
    #[arg(long, requires = "stand_at")]
    behind: bool,
}

/// A place on the way from a handler's failure to where a dead letter goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// The handler is about to fail.
    Handler,
    /// A storage outside keeps a letter.
    Storage,
    /// The first such call of the store.
    Call(Operation),
}

fn place(name: &str) -> Result<Place, String> {
    use Operation::{Commit, CreateMany, MarkCopied, Settle};
    match name {
        "handler" => Ok(Place::Handler),
        "storage" => Ok(Place::Storage),
        name => named(name, [Settle, CreateMany, Commit, MarkCopied]).map(Place::Call),
    }
}

/// The choice whose name it is.
pub(crate) fn named<T: Debug, const N: usize>(name: &str, choices: [T; N]) -> Result<T, String> {
    choices
        .into_iter()
        .find(|choice| format!("{choice:?}") == name)
        .ok_or_else(|| "there is none of this name".to_owned())
}

/// Where the program stands still, if it does.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stand(Option<(Place, bool)>);

impl Stand {
    /// Has `plan` stop the calls of the store.
    pub(crate) fn new(args: &StandArgs, plan: &FaultPlan) -> Self {
        let Some(place) = args.stand_at else { return Self(None) };
        if let Place::Call(operation) = place {
            let call = plan.on(operation).nth(1);
            if args.behind {
                call.freeze_after()
            } else {
                call.freeze_before()
            }
            tell(plan);
        }
        Self(Some((place, args.behind)))
    }

    /// Goes on, unless the program is to stand still here.
    pub(crate) async fn pass(&self, place: Place, is_behind: bool) {
        if self.0 == Some((place, is_behind)) {
            println!("frozen");
            pending().await
        }
    }
}

/// Prints `frozen` as soon as a call stands still.
pub(crate) fn tell(plan: &FaultPlan) {
    let plan = plan.clone();
    tokio::spawn(async move {
        plan.until_frozen().await;
        println!("frozen");
    });
}

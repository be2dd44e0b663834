//! The oracle of the chaos tests: reads tables and topics with plain sqlx and rdkafka and judges what was promised.
//!
//! Truth comes from the [`journal`]: writers and handlers note there, inside their own transactions, what they enqueue and which
//! message they handled. What the journal holds committed; what a topic shows must be in it. Nothing of omni-box's own code is
//! in between, so that a fault of it cannot hide itself.
//!
//! | promise | broken when the verdict has |
//! |---|---|
//! | an event exists exactly if its transaction committed | `missing`, `phantom` |
//! | order of first appearances per key | `out_of_order`, `misrouted` |
//! | a message takes effect once per group, together with the events it adds | `missing_effects`, `duplicate_effects`, `unexpected_effects`, `effects_out_of_order`, `lost_events`, `orphan_events` |
//! | nothing ends in silence | `not_completed`, `parked`, `quarantined` |

mod collect;
mod delivery;
mod effects;
pub mod journal;
mod order;
mod topic;
mod verdict;

pub use collect::{InboxExpectation, Judge};
pub use delivery::{History, judge_delivery};
pub use effects::{Effect, InboxHistory, judge_effects};
pub use journal::Enqueued;
pub use order::displaced;
pub use topic::{Message, read_topics};
pub use verdict::{Finding, Verdict};

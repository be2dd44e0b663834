//! The statements, with their table names put in once.

use std::sync::Arc;

use omni_box_sql::render;
use sqlx::AssertSqlSafe;

use crate::PgConfig;

/// A statement of ours.
#[derive(Debug, Clone)]
pub(crate) struct Query(Arc<str>);

impl Query {
    /// Its text. It is our own, and the names in it were quoted: safe.
    pub(crate) fn sql(&self) -> AssertSqlSafe<Arc<str>> {
        AssertSqlSafe(Arc::clone(&self.0))
    }
}

macro_rules! queries {
    ($($name:ident = $file:literal,)*) => {
        /// Every statement, named for its file.
        #[derive(Debug)]
        pub(crate) struct Queries {
            $(pub(crate) $name: Query,)*
        }

        impl Queries {
            pub(crate) fn new(config: &PgConfig) -> Self {
                Self {
                    $($name: Query(render(config, include_str!(concat!("../queries/", $file))).into()),)*
                }
            }
        }
    };
}

queries! {
    control_mode = "control/mode.sql",
    control_no_rows_indexes = "control/no_rows_indexes.sql",
    control_rows_indexes = "control/rows_indexes.sql",
    control_set_mode = "control/set_mode.sql",
    control_undrained = "control/undrained.sql",
    inbox_attach = "inbox/attach.sql",
    inbox_by_message = "inbox/by_message.sql",
    inbox_claim = "inbox/claim.sql",
    inbox_cleanup = "inbox/cleanup.sql",
    inbox_complete = "inbox/complete.sql",
    inbox_complete_claimed = "inbox/complete_claimed.sql",
    inbox_detach = "inbox/detach.sql",
    inbox_fail = "inbox/fail.sql",
    inbox_fail_claimed = "inbox/fail_claimed.sql",
    inbox_fetch = "inbox/fetch.sql",
    inbox_get = "inbox/get.sql",
    inbox_lock = "inbox/lock.sql",
    inbox_pending_of = "inbox/pending_of.sql",
    inbox_process = "inbox/process.sql",
    inbox_quarantine = "inbox/quarantine.sql",
    inbox_receive = "inbox/receive.sql",
    inbox_refresh = "inbox/refresh.sql",
    inbox_release = "inbox/release.sql",
    inbox_release_stale = "inbox/release_stale.sql",
    lanes_alive = "lanes/alive.sql",
    lanes_announce = "lanes/announce.sql",
    lanes_claim = "lanes/claim.sql",
    lanes_complete = "lanes/complete.sql",
    lanes_complete_locked = "lanes/complete_locked.sql",
    lanes_fetch = "lanes/fetch.sql",
    lanes_follow = "lanes/follow.sql",
    lanes_follow_deferred = "lanes/follow_deferred.sql",
    lanes_follow_orphaned = "lanes/follow_orphaned.sql",
    lanes_hold = "lanes/hold.sql",
    lanes_leave = "lanes/leave.sql",
    lanes_lock = "lanes/lock.sql",
    lanes_release = "lanes/release.sql",
    lanes_release_keys = "lanes/release_keys.sql",
    lanes_release_orphans = "lanes/release_orphans.sql",
    lanes_renew = "lanes/renew.sql",
    outbox_by_keys = "outbox/by_keys.sql",
    outbox_claim = "outbox/claim.sql",
    outbox_cleanup = "outbox/cleanup.sql",
    outbox_complete_claimed = "outbox/complete_claimed.sql",
    outbox_create = "outbox/create.sql",
    outbox_fail_claimed = "outbox/fail_claimed.sql",
    outbox_fetch = "outbox/fetch.sql",
    outbox_get = "outbox/get.sql",
    outbox_process = "outbox/process.sql",
    outbox_refresh = "outbox/refresh.sql",
    outbox_release = "outbox/release.sql",
    outbox_release_stale = "outbox/release_stale.sql",
}

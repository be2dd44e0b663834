//! The statements, with their table names put in once, and what they take.

use omni_box_core::EventId;

omni_box_sql::queries! {
    events {
        claim_one = "events/claim_one.sql",
        get = "events/get.sql",
        failed = "outbox/failed.sql" | "inbox/failed.sql",
        mark_copied = "events/mark_copied.sql",
        purge = "events/purge.sql",
        purge_failed = "events/purge_failed.sql",
        refresh = "events/refresh.sql",
        release = "events/release.sql",
        release_stale = "events/release_stale.sql",
        renew = "outbox/renew.sql" | "inbox/renew.sql",
        renewed = "events/renewed.sql",
        requeue = "outbox/requeue.sql" | "inbox/requeue.sql",
        uncopied = "outbox/uncopied.sql" | "inbox/uncopied.sql",
    }
    breaker_admit = "breaker/admit.sql",
    breaker_read = "breaker/read.sql",
    breaker_report = "breaker/report.sql",
    control_free_lanes = "control/free_lanes.sql",
    control_mode = "control/mode.sql",
    control_no_rows_indexes = "control/no_rows_indexes.sql",
    control_rows_indexes = "control/rows_indexes.sql",
    control_set_mode = "control/set_mode.sql",
    control_undrained = "control/undrained.sql",
    inbox_attach = "inbox/attach.sql",
    inbox_by_message = "inbox/by_message.sql",
    inbox_claim = "inbox/claim.sql",
    inbox_claimable = "inbox/claimable.sql",
    inbox_complete = "inbox/complete.sql",
    inbox_detach = "inbox/detach.sql",
    inbox_fail = "inbox/fail.sql",
    inbox_fetch = "inbox/fetch.sql",
    inbox_join = "inbox/join.sql",
    inbox_leave = "inbox/leave.sql",
    inbox_partition_end = "inbox/partition_end.sql",
    inbox_pending_of = "inbox/pending_of.sql",
    inbox_quarantine = "inbox/quarantine.sql",
    inbox_read = "inbox/read.sql",
    inbox_receive = "inbox/receive.sql",
    inbox_reopen = "inbox/reopen.sql",
    inbox_settle_completed = "inbox/settle_completed.sql",
    lanes_alive = "lanes/alive.sql",
    lanes_announce = "lanes/announce.sql",
    lanes_any_due = "lanes/any_due.sql",
    lanes_changes = "lanes/changes.sql",
    lanes_claim = "lanes/claim.sql",
    lanes_complete = "lanes/complete.sql",
    lanes_count = "lanes/count.sql",
    lanes_fetch = "lanes/fetch.sql",
    lanes_follow = "lanes/follow.sql",
    lanes_follow_deferred = "lanes/follow_deferred.sql",
    lanes_forget = "lanes/forget.sql",
    lanes_held = "lanes/held.sql",
    lanes_hold = "lanes/hold.sql",
    lanes_leave = "lanes/leave.sql",
    lanes_orphaned = "lanes/orphaned.sql",
    lanes_read = "lanes/read.sql",
    lanes_release = "lanes/release.sql",
    lanes_release_all = "lanes/release_all.sql",
    lanes_release_key = "lanes/release_key.sql",
    lanes_release_orphans = "lanes/release_orphans.sql",
    lanes_renew = "lanes/renew.sql",
    lanes_unannounced = "lanes/unannounced.sql",
    lanes_waits = "lanes/waits.sql",
    outbox_by_key = "outbox/by_key.sql",
    outbox_claim = "outbox/claim.sql",
    outbox_claimable = "outbox/claimable.sql",
    outbox_complete = "outbox/complete.sql",
    outbox_create = "outbox/create.sql",
    outbox_fail = "outbox/fail.sql",
    outbox_fetch = "outbox/fetch.sql",
    outbox_read = "outbox/read.sql",
    quarantine_list = "quarantine/list.sql",
    quarantine_purge = "quarantine/purge.sql",
    quarantine_remove = "quarantine/remove.sql",
    quarantine_show = "quarantine/show.sql",
    sample_inbox = "sample/inbox.sql",
    sample_outbox = "sample/outbox.sql",
}

/// Ids as the JSON array that statements take.
pub(crate) fn ids(ids: &[EventId]) -> String {
    array(ids.iter().map(EventId::to_string))
}

/// Values as the JSON array that statements take.
pub(crate) fn array<V: Into<serde_json::Value>>(values: impl IntoIterator<Item = V>) -> String {
    values.into_iter().map(Into::into).collect::<serde_json::Value>().to_string()
}

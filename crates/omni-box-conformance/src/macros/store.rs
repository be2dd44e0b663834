//! The suites of stores.

/// The cases of [`EventRepository`](omni_box_core::EventRepository); part of [`outbox_conformance!`] and [`inbox_conformance!`].
#[doc(hidden)]
#[macro_export]
macro_rules! __repository_conformance {
    ($fixture:ty, $event:ident) => {
        $crate::__conformance_cases! { StoreFixture, $fixture, [$crate::events::$event], in (repository::create):
            an_event_exists_after_the_commit
            an_event_is_invisible_before_the_commit
            a_rollback_leaves_nothing
            a_dropped_transaction_leaves_nothing
            an_abandoned_transaction_leaves_nothing
            a_handling_transaction_commits_and_rolls_back
            an_event_is_stored_as_it_was_given
            times_come_from_the_stores_clock
            many_are_stored_in_order
            an_identity_is_stored_once
            an_identity_repeated_in_a_batch_is_stored_once
            of_two_that_race_for_an_identity_one_waits
            racing_creates_agree_on_one_event
            an_id_belongs_to_one_event
            a_commit_behind_a_failed_statement_tells_the_truth
            an_unknown_id_is_none
        }
        $crate::__conformance_cases! { StoreFixture, $fixture, [$crate::events::$event], in (repository::fetch):
            heads_of_keys_come_oldest_first
            a_fetch_keeps_its_limit
            what_is_claimed_is_left_out_with_its_key
            a_retry_holds_its_key_until_it_is_due
            what_waits_for_an_operator_is_never_due
            filters_narrow_a_fetch
            filters_of_the_other_kind_are_refused
        }
        $crate::__conformance_cases! { StoreFixture, $fixture, [$crate::events::$event], in (repository::mark):
            an_event_is_claimed_by_one
            of_two_that_claim_at_once_one_gets_the_event
            only_pending_events_are_claimed
            a_claimed_event_is_completed_once
            marks_without_the_claim_change_nothing
            a_failed_event_stays_failed
            a_failure_is_recorded_and_gives_the_claim_back
            attempts_are_counted_as_the_failure_says
            a_failure_for_good_lets_the_key_go_on
            workers_of_one_name_have_claims_of_their_own
        }
    };
}

/// The cases of [`DistributedLocking`](omni_box_core::DistributedLocking) for one kind of event:
/// `locking_conformance!(MyFixture, OutboxEvent)`.
#[macro_export]
macro_rules! locking_conformance {
    ($fixture:ty, $event:ident $(,)?) => {
        $crate::__conformance_cases! { StoreFixture, $fixture, [$crate::events::$event], in (locking):
            heads_of_keys_are_claimed_once
            a_head_waits_for_what_is_claimed_behind_it
            a_claim_keeps_its_limit
            two_claimers_never_share_a_key
            a_stale_claim_is_taken_over
            a_renewed_claim_is_not_taken
            a_released_claim_is_free_and_costs_nothing
            only_due_events_are_claimed
            filters_narrow_a_claim
            a_claim_leaves_out_what_has_not_committed
        }
        $crate::__kind_conformance! { locking, $fixture, $event }
    };
}

/// The cases of a suite that only one kind of event has.
#[doc(hidden)]
#[macro_export]
macro_rules! __kind_conformance {
    (locking, $fixture:ty, InboxEvent) => {
        $crate::__conformance_cases! { StoreFixture, $fixture, [], in (inbox::partition):
            a_key_that_is_no_text_is_claimed_in_its_own_order
        }
    };
    (bare, $fixture:ty, InboxEvent) => {
        $crate::__conformance_cases! { StoreFixture, $fixture, [], in (inbox::bare):
            a_receive_outside_a_transaction_is_refused
            a_settlement_outside_a_transaction_is_refused
            a_quarantine_outside_a_transaction_is_refused
        }
    };
    ($suite:ident, $fixture:ty, OutboxEvent) => {};
}

/// The cases of [`BulkOperations`](omni_box_core::BulkOperations) for one kind of event:
/// `bulk_conformance!(MyFixture, OutboxEvent)`.
#[macro_export]
macro_rules! bulk_conformance {
    ($fixture:ty, $event:ident $(,)?) => {
        $crate::__conformance_cases! { StoreFixture, $fixture, [$crate::events::$event], in (bulk):
            a_batch_is_completed_to_its_last_event
            a_batch_completes_only_what_its_token_has
        }
    };
}

/// The cases of [`RetentionPolicies`](omni_box_core::RetentionPolicies) for one kind of event:
/// `retention_conformance!(MyFixture, OutboxEvent)`.
#[macro_export]
macro_rules! retention_conformance {
    ($fixture:ty, $event:ident $(,)?) => {
        $crate::__conformance_cases! { StoreFixture, $fixture, [$crate::events::$event], in (retention):
            old_completed_events_are_deleted
            pending_and_failed_events_are_never_deleted
            a_clean_up_is_bounded
            stale_claims_are_given_back
        }
    };
}

/// The cases of [`Breakers`](omni_box_core::store::Breakers): `breakers_conformance!(MyFixture)`.
#[macro_export]
macro_rules! breakers_conformance {
    ($fixture:ty $(,)?) => {
        $crate::__conformance_cases! { StoreFixture, $fixture, [], in (breaker):
            failures_of_all_open_a_breaker
            one_of_all_has_the_trial
            an_open_breaker_hears_its_trial_alone
        }
    };
}

/// The cases for stores whose connections exist outside a transaction, for one kind of event:
/// `bare_connection_conformance!(MyFixture, OutboxEvent)`. The fixture is a [`BareConnections`](crate::BareConnections); for
/// `InboxEvent` an [`InboxFixture`](crate::InboxFixture) too.
#[macro_export]
macro_rules! bare_connection_conformance {
    ($fixture:ty, $event:ident $(,)?) => {
        $crate::__conformance_cases! { StoreFixture, $fixture, [$crate::events::$event], in (bare):
            a_create_outside_a_transaction_is_refused
        }
        $crate::__kind_conformance! { bare, $fixture, $event }
    };
}

/// The cases of [`OrderedLanes`](omni_box_core::OrderedLanes): `lanes_conformance!(MyFixture)`.
#[macro_export]
macro_rules! lanes_conformance {
    ($fixture:ty $(,)?) => {
        $crate::__conformance_cases! { StoreFixture, $fixture, [], in (lanes::lease):
            the_mode_of_a_table_with_lanes_is_lanes
            a_lone_owner_gets_every_lane
            lanes_are_shared_fairly
            owners_that_begin_at_once_share_no_lane
            a_renewed_lease_keeps_its_epoch
            an_expired_lease_is_taken_with_a_higher_epoch
            a_released_lane_is_free_at_once
            a_release_leaves_the_leases_of_others_alone
            who_leaves_is_not_counted_any_more
            no_lane_is_taken_in_another_mode
        }
        $crate::__conformance_cases! { StoreFixture, $fixture, [], in (lanes::fetch):
            each_lane_is_read_in_order
            a_fetch_reads_the_lanes_it_is_asked_for
            a_fetch_keeps_the_limit_of_each_lane
            a_fetch_tells_its_time
            what_is_in_flight_is_left_out
            heads_of_topics_that_rest_are_left_out
            an_event_that_commits_late_is_not_stepped_over
            what_has_not_committed_is_not_read
            a_fetch_is_bounded_in_bytes
            a_scheduled_event_is_read_when_it_is_due
            quiet_is_promised_until_something_becomes_due
            events_without_a_key_are_read
        }
        $crate::__conformance_cases! { StoreFixture, $fixture, [], in (lanes::bound):
            what_commits_late_is_above_the_bound
            what_a_limit_cuts_off_is_above_the_bound
            what_waited_is_read_below_the_bound
            a_new_owner_reads_what_the_one_before_left
            a_new_owner_reads_what_was_released
        }
        $crate::__conformance_cases! { StoreFixture, $fixture, [], in (lanes::settle):
            what_was_published_is_completed
            only_the_owner_settles
            a_settlement_of_an_older_epoch_changes_nothing
            who_was_taken_over_changes_nothing
            who_gave_a_lane_back_changes_nothing
            events_of_other_lanes_are_not_settled
            only_pending_events_are_settled
            a_settlement_written_twice_counts_once
            attempts_are_counted_as_the_failure_says
            an_announcement_changes_no_lease
        }
        $crate::__conformance_cases! { StoreFixture, $fixture, [], in (lanes::hold):
            a_held_head_holds_its_key_and_no_other
            a_held_head_is_read_when_its_time_has_come
            what_waits_for_an_operator_is_never_due
            a_release_restores_the_order
            very_many_followers_are_released_in_order
            a_release_waits_for_the_head
            a_head_that_fails_for_good_lets_its_key_go_on
            a_follower_without_a_head_stays_due
            a_scheduled_follower_joins_at_the_end
            an_event_without_a_key_holds_no_other
            a_new_owner_knows_what_is_held
        }
    };
}

/// The cases of [`DeadLetters`](omni_box_core::store::DeadLetters) for one kind of event: `dead_letters_conformance!(MyFixture, OutboxEvent)`.
#[macro_export]
macro_rules! dead_letters_conformance {
    ($fixture:ty, $event:ident $(,)?) => {
        $crate::__conformance_cases! { StoreFixture, $fixture, [$crate::events::$event], in (dead_letter):
            what_was_given_up_is_listed_in_its_order
            filters_narrow_a_list
            what_is_requeued_is_tried_again
            what_is_replayed_is_another_event
            old_failed_events_are_deleted_in_bounds
            a_failure_is_copied_once
        }
    };
}

/// The cases of [`Inspection`](omni_box_core::store::Inspection) for one kind of event: `inspection_conformance!(MyFixture, OutboxEvent)`.
#[macro_export]
macro_rules! inspection_conformance {
    ($fixture:ty, OutboxEvent $(,)?) => {
        $crate::__conformance_cases! { StoreFixture, $fixture, [], in (inspection::outbox):
            an_empty_outbox_has_nothing_to_tell
            what_is_due_is_counted_and_has_an_age
            what_is_scheduled_counts_when_it_is_due
            keys_that_wait_are_not_due
            what_was_given_up_is_counted
            lanes_without_a_lease_are_counted
        }
    };
    ($fixture:ty, InboxEvent $(,)?) => {
        $crate::__conformance_cases! { StoreFixture, $fixture, [], in (inspection::inbox):
            messages_are_counted_by_group
            messages_that_wait_are_not_due
        }
    };
}

/// The case of stores with more than one lane; part of [`outbox_conformance!`](crate::outbox_conformance).
#[doc(hidden)]
#[macro_export]
macro_rules! __several_lanes_conformance {
    ($fixture:ty) => {
        $crate::__conformance_cases! { StoreFixture, $fixture, [], in (lanes::settle):
            a_lost_lane_does_not_stop_the_others
        }
    };
}

/// The cases of [`Wakeup`](omni_box_core::Wakeup): `wakeup_conformance!(MyFixture)`.
#[macro_export]
macro_rules! wakeup_conformance {
    ($fixture:ty $(,)?) => {
        $crate::__conformance_cases! { StoreFixture, $fixture, [], in (wakeup):
            a_commit_wakes_who_waits
            a_wake_up_is_kept_for_the_next_wait
        }
    };
}

/// The cases of [`Savepoints`](omni_box_core::Savepoints): `savepoint_conformance!(MyFixture)`.
#[macro_export]
macro_rules! savepoint_conformance {
    ($fixture:ty $(,)?) => {
        $crate::__conformance_cases! { StoreFixture, $fixture, [], in (savepoint):
            a_rollback_undoes_what_was_written_since
            an_advanced_savepoint_keeps_what_was_written
            a_savepoint_stays_set_after_a_rollback
            a_rollback_works_after_a_failed_statement
            the_transaction_undoes_what_a_savepoint_kept
            a_savepoint_that_is_gone_is_missed
        }
    };
}

/// The cases of [`SealedTransactions`](omni_box_core::store::SealedTransactions): `sealed_conformance!(MyFixture)`.
#[macro_export]
macro_rules! sealed_conformance {
    ($fixture:ty $(,)?) => {
        $crate::__conformance_cases! { StoreFixture, $fixture, [], in (sealed):
            a_new_message_is_completed_by_the_commit
            a_known_message_is_judged_by_its_row
            what_is_left_for_later_is_pending
            a_rollback_leaves_nothing
            a_commit_behind_a_failed_statement_tells_the_truth
        }
    };
}

/// The cases of [`Quarantine`](omni_box_core::store::Quarantine): `quarantine_conformance!(MyFixture)`.
#[macro_export]
macro_rules! quarantine_conformance {
    ($fixture:ty $(,)?) => {
        $crate::__conformance_cases! { StoreFixture, $fixture, [], in (inbox::kept):
            a_quarantine_is_listed_as_it_came
            a_message_is_shown_as_it_came
            a_message_is_taken_out_once
            a_message_is_decoded_again_into_the_inbox
            an_old_quarantine_is_deleted_in_bounds
        }
    };
}

/// The cases of [`GroupMembers`](omni_box_core::store::GroupMembers): `members_conformance!(MyFixture)`.
#[macro_export]
macro_rules! members_conformance {
    ($fixture:ty $(,)?) => {
        $crate::__conformance_cases! { StoreFixture, $fixture, [], in (inbox::members):
            a_group_is_handled_in_one_way
            a_member_that_does_not_renew_is_none
            who_comes_at_once_agrees_on_one_way
        }
    };
}

/// The case of stores that remember how a partition's owner ended; part of [`inbox_conformance!`](crate::inbox_conformance).
#[doc(hidden)]
#[macro_export]
macro_rules! __partitions_conformance {
    ($fixture:ty) => {
        $crate::__conformance_cases! { StoreFixture, $fixture, [], in (inbox::partition):
            a_partition_remembers_how_its_owner_ended
        }
    };
}

/// A store of outbox events as tests:
/// `outbox_conformance!(MyFixture, capabilities: [breakers, bulk, dead_letters, inspection, lanes, locking, retention, several_lanes, wakeup])`.
///
/// Expands into a module `outbox` with a test for each case of what every store does, and into modules within it for the capabilities
/// listed. One more test fails where the list differs from what the store offers. `MyFixture` is a
/// [`StoreFixture`](crate::StoreFixture) that is in scope by its name, or a path that begins with `crate::`. The capability
/// `several_lanes` is that of a store with `lanes` that has more than one.
#[macro_export]
macro_rules! outbox_conformance {
    ($fixture:ty, capabilities: [$($capability:ident),* $(,)?] $(,)?) => {
        mod outbox {
            #[allow(unused_imports)]
            use super::*;

            #[::tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn capabilities_are_those_tested() {
                let create = <$fixture as $crate::StoreFixture>::create;
                $crate::check(create, |fixture: $fixture| {
                    $crate::outbox::capabilities_are_those_tested(fixture, &[$(stringify!($capability)),*])
                })
                .await;
            }

            $crate::__repository_conformance! { $fixture, OutboxEvent }
            $crate::__conformance_cases! { StoreFixture, $fixture, [], in (outbox):
                the_delivery_mode_is_that_of_the_table
                a_scheduled_event_joins_when_it_is_due
                a_schedule_in_the_past_is_due_at_once
                events_without_a_key_do_not_wait_for_each_other
            }
            $($crate::__capability_conformance! { $capability, $fixture, OutboxEvent })*
        }
    };
}

/// A store of inbox events as tests: `inbox_conformance!(MyFixture, capabilities: [breakers, bulk, dead_letters, inspection, locking, members, partitions, quarantine, retention, savepoints, sealed])`.
///
/// As [`outbox_conformance!`](crate::outbox_conformance), in a module `inbox`. `MyFixture` is an
/// [`InboxFixture`](crate::InboxFixture). The capability `partitions` is that of a store whose `attach` tells how the owner
/// before ended.
#[macro_export]
macro_rules! inbox_conformance {
    ($fixture:ty, capabilities: [$($capability:ident),* $(,)?] $(,)?) => {
        mod inbox {
            #[allow(unused_imports)]
            use super::*;

            #[::tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn capabilities_are_those_tested() {
                let create = <$fixture as $crate::StoreFixture>::create;
                $crate::check(create, |fixture: $fixture| {
                    $crate::inbox::capabilities_are_those_tested(fixture, &[$(stringify!($capability)),*])
                })
                .await;
            }

            $crate::__repository_conformance! { $fixture, InboxEvent }
            $crate::__conformance_cases! { StoreFixture, $fixture, [], in (inbox::receive):
                a_message_is_judged_by_its_row
                a_received_message_is_stored_as_it_was_given
                what_was_received_is_undone_by_a_rollback
                each_group_has_its_own_messages
                a_message_is_found_by_its_id_and_its_group
                another_message_with_the_same_id_is_a_conflict
                a_message_is_the_same_in_a_retry_topic
                a_message_that_is_sent_again_is_tried_again
                a_pending_message_says_how_long_it_waits
                of_two_owners_of_a_partition_one_waits
                who_waited_for_a_rollback_receives_anew
            }
            mod settle {
                #[allow(unused_imports)]
                use super::*;

                $crate::__conformance_cases! { StoreFixture, $fixture, [], in (inbox::settle):
                    a_group_is_settled_to_its_last_message
                    attempts_are_counted_as_the_failure_says
                    only_pending_messages_are_settled
                    a_claim_ends_with_its_outcome
                }
            }
            $crate::__conformance_cases! { StoreFixture, $fixture, [], in (inbox::quarantine):
                messages_are_kept_as_raw_bytes
                a_message_is_kept_once
                a_quarantine_is_undone_by_a_rollback
            }
            $crate::__conformance_cases! { StoreFixture, $fixture, [], in (inbox::partition):
                pending_messages_come_in_the_order_of_their_offsets
                pending_messages_are_those_of_the_partition
                messages_that_wait_for_a_retry_are_pending
                messages_without_a_key_keep_the_order_of_their_partition
                a_key_that_is_no_text_has_an_order_of_its_own
            }
            $($crate::__capability_conformance! { $capability, $fixture, InboxEvent })*
        }
    };
}

/// The suite of a capability, in a module of its name.
#[doc(hidden)]
#[macro_export]
macro_rules! __capability_conformance {
    (breakers, $fixture:ty, $event:ident) => {
        $crate::__capability_module! { breakers: $crate::breakers_conformance! { $fixture } }
    };
    (bulk, $fixture:ty, $event:ident) => {
        $crate::__capability_module! { bulk: $crate::bulk_conformance! { $fixture, $event } }
    };
    (dead_letters, $fixture:ty, $event:ident) => {
        $crate::__capability_module! { dead_letters: $crate::dead_letters_conformance! { $fixture, $event } }
    };
    (inspection, $fixture:ty, $event:ident) => {
        $crate::__capability_module! { inspection: $crate::inspection_conformance! { $fixture, $event } }
    };
    (lanes, $fixture:ty, OutboxEvent) => {
        $crate::__capability_module! { lanes: $crate::lanes_conformance! { $fixture } }
    };
    (locking, $fixture:ty, $event:ident) => {
        $crate::__capability_module! { locking: $crate::locking_conformance! { $fixture, $event } }
    };
    (members, $fixture:ty, InboxEvent) => {
        $crate::__capability_module! { members: $crate::members_conformance! { $fixture } }
    };
    (partitions, $fixture:ty, InboxEvent) => {
        $crate::__capability_module! { partitions: $crate::__partitions_conformance! { $fixture } }
    };
    (quarantine, $fixture:ty, InboxEvent) => {
        $crate::__capability_module! { quarantine: $crate::quarantine_conformance! { $fixture } }
    };
    (retention, $fixture:ty, $event:ident) => {
        $crate::__capability_module! { retention: $crate::retention_conformance! { $fixture, $event } }
    };
    (savepoints, $fixture:ty, InboxEvent) => {
        $crate::__capability_module! { savepoints: $crate::savepoint_conformance! { $fixture } }
    };
    (sealed, $fixture:ty, InboxEvent) => {
        $crate::__capability_module! { sealed: $crate::sealed_conformance! { $fixture } }
    };
    (several_lanes, $fixture:ty, OutboxEvent) => {
        $crate::__capability_module! { several_lanes: $crate::__several_lanes_conformance! { $fixture } }
    };
    (wakeup, $fixture:ty, OutboxEvent) => {
        $crate::__capability_module! { wakeup: $crate::wakeup_conformance! { $fixture } }
    };
}

/// A module of a suite.
#[doc(hidden)]
#[macro_export]
macro_rules! __capability_module {
    ($name:ident: $($suite:tt)*) => {
        mod $name {
            #[allow(unused_imports)]
            use super::*;

            $($suite)*
        }
    };
}

//! The flaws of stores, and what finds them.

use omni_box_core::{InboxEvent, OutboxEvent};

use super::Fixture;
use crate::broken::flaws;

flaws! { Fixture:
    // transactions
    /// A commit fails, and says `Ok`.
    CommitFailsInSilence =>
        repository::create::an_event_exists_after_the_commit [OutboxEvent],
        repository::create::an_event_exists_after_the_commit [InboxEvent];
    /// A commit says `Ok` whatever the database says.
    CommitHidesErrors =>
        repository::create::a_commit_behind_a_failed_statement_tells_the_truth [OutboxEvent],
        repository::create::a_commit_behind_a_failed_statement_tells_the_truth [InboxEvent],
        sealed::a_commit_behind_a_failed_statement_tells_the_truth;
    RollbackCommits =>
        repository::create::a_rollback_leaves_nothing [OutboxEvent],
        repository::create::a_rollback_leaves_nothing [InboxEvent],
        repository::create::a_handling_transaction_commits_and_rolls_back [OutboxEvent],
        inbox::receive::what_was_received_is_undone_by_a_rollback,
        savepoint::the_transaction_undoes_what_a_savepoint_kept;
    DropCommits =>
        repository::create::a_dropped_transaction_leaves_nothing [OutboxEvent],
        inbox::receive::who_waited_for_a_rollback_receives_anew;
    AbandonCommits => repository::create::an_abandoned_transaction_leaves_nothing [InboxEvent];

    WritesWithoutATransaction =>
        bare::a_create_outside_a_transaction_is_refused [OutboxEvent],
        inbox::bare::a_receive_outside_a_transaction_is_refused,
        inbox::bare::a_settlement_outside_a_transaction_is_refused,
        inbox::bare::a_quarantine_outside_a_transaction_is_refused;

    // create
    LosesTraces =>
        repository::create::an_event_is_stored_as_it_was_given [OutboxEvent],
        inbox::receive::a_received_message_is_stored_as_it_was_given;
    /// The time of an event is that of the program that looks at it.
    TimesAreTheProgramsOwn => repository::create::times_come_from_the_stores_clock [InboxEvent];
    /// Another event under an id that is taken is dropped, and told as stored.
    DropsANamesake =>
        repository::create::an_id_belongs_to_one_event [OutboxEvent],
        savepoint::a_rollback_works_after_a_failed_statement;
    AnUnknownIdIsTheFirst => repository::create::an_unknown_id_is_none [OutboxEvent];
    CreatesOutsideTheTransaction =>
        repository::create::an_event_is_invisible_before_the_commit [OutboxEvent],
        repository::create::an_event_is_invisible_before_the_commit [InboxEvent],
        lanes::fetch::what_has_not_committed_is_not_read;
    LosesTheLastOfABatch => repository::create::many_are_stored_in_order [OutboxEvent];
    StoresABatchBackwards => repository::create::many_are_stored_in_order [OutboxEvent];
    /// The same idempotency key or message id again is another event.
    StoresARepeat =>
        repository::create::an_identity_is_stored_once [OutboxEvent],
        repository::create::an_identity_is_stored_once [InboxEvent],
        repository::create::of_two_that_race_for_an_identity_one_waits [OutboxEvent],
        repository::create::racing_creates_agree_on_one_event [OutboxEvent];
    /// A repeat is not stored, and not told as `Existing`.
    CallsARepeatNew =>
        repository::create::an_identity_is_stored_once [OutboxEvent],
        repository::create::an_identity_repeated_in_a_batch_is_stored_once [InboxEvent];

    // fetch
    FetchesWhatIsClaimed => repository::fetch::what_is_claimed_is_left_out_with_its_key [OutboxEvent];
    /// An event is fetched while a later one of its key is claimed.
    FetchesBeforeWhatIsClaimed =>
        repository::fetch::what_is_claimed_is_left_out_with_its_key [OutboxEvent],
        repository::fetch::what_is_claimed_is_left_out_with_its_key [InboxEvent];
    FetchesBackwards => repository::fetch::heads_of_keys_come_oldest_first [OutboxEvent];
    FetchIgnoresItsLimit => repository::fetch::a_fetch_keeps_its_limit [OutboxEvent];
    FetchIgnoresFilters =>
        repository::fetch::filters_narrow_a_fetch [OutboxEvent],
        repository::fetch::filters_of_the_other_kind_are_refused [InboxEvent];
    /// What comes behind an event that waits for its retry goes first.
    ARetryHoldsNothing =>
        repository::fetch::a_retry_holds_its_key_until_it_is_due [OutboxEvent],
        repository::fetch::what_waits_for_an_operator_is_never_due [OutboxEvent];
    FetchesTheScheduledEarly => outbox::a_scheduled_event_joins_when_it_is_due;
    NeverFetchesThePast => outbox::a_schedule_in_the_past_is_due_at_once;
    EventsWithoutAKeyAreOneKey => outbox::events_without_a_key_do_not_wait_for_each_other;
    AFailureForGoodHoldsItsKey => repository::mark::a_failure_for_good_lets_the_key_go_on [OutboxEvent];

    // marks
    MarksWithoutTheClaim =>
        repository::mark::marks_without_the_claim_change_nothing [OutboxEvent],
        repository::mark::workers_of_one_name_have_claims_of_their_own [InboxEvent];
    /// Who has had a claim keeps it always.
    MarksByAStaleClaim => locking::a_stale_claim_is_taken_over [OutboxEvent];
    AnEventIsClaimedByTwo =>
        repository::mark::an_event_is_claimed_by_one [OutboxEvent],
        repository::mark::of_two_that_claim_at_once_one_gets_the_event [InboxEvent];
    ClaimsWhatIsNotPending => repository::mark::only_pending_events_are_claimed [InboxEvent];
    CompletesTwice => repository::mark::a_claimed_event_is_completed_once [OutboxEvent];
    CompletesWhatIsNotPending => repository::mark::a_failed_event_stays_failed [OutboxEvent];
    AFailureKeepsTheClaim => repository::mark::a_failure_is_recorded_and_gives_the_claim_back [OutboxEvent];
    CountsAFailureTwice =>
        repository::mark::a_failure_is_recorded_and_gives_the_claim_back [OutboxEvent],
        repository::mark::attempts_are_counted_as_the_failure_says [InboxEvent],
        inbox::settle::attempts_are_counted_as_the_failure_says;

    // claims of batches
    ClaimsWhatIsClaimed =>
        locking::heads_of_keys_are_claimed_once [OutboxEvent],
        locking::two_claimers_never_share_a_key [InboxEvent];
    /// Several of one key are claimed at a time.
    ClaimsWholeKeys =>
        locking::heads_of_keys_are_claimed_once [OutboxEvent],
        locking::only_due_events_are_claimed [OutboxEvent];
    ClaimsTheUncommitted => locking::a_claim_leaves_out_what_has_not_committed [OutboxEvent];
    /// An event is claimed while a later one of its key is.
    ClaimsBeforeWhatIsClaimed =>
        locking::a_head_waits_for_what_is_claimed_behind_it [OutboxEvent],
        locking::a_head_waits_for_what_is_claimed_behind_it [InboxEvent];
    AClaimIgnoresFilters => locking::filters_narrow_a_claim [OutboxEvent];
    ClaimsNeverExpire => locking::a_stale_claim_is_taken_over [InboxEvent];
    AClaimIgnoresItsLimit => locking::a_claim_keeps_its_limit [OutboxEvent];
    ARenewalDoesNothing => locking::a_renewed_claim_is_not_taken [OutboxEvent];
    AReleaseKeepsTheClaims => locking::a_released_claim_is_free_and_costs_nothing [OutboxEvent];
    ReleasesTheClaimsOfOthers => locking::a_released_claim_is_free_and_costs_nothing [InboxEvent];
    CompletesABatchButItsLast => bulk::a_batch_is_completed_to_its_last_event [OutboxEvent];
    CompletesABatchOfOthers => bulk::a_batch_completes_only_what_its_token_has [OutboxEvent];

    // upkeep
    ListsTheLastFirst => dead_letter::what_was_given_up_is_listed_in_its_order [OutboxEvent];
    EveryPageIsTheFirst => dead_letter::what_was_given_up_is_listed_in_its_order [InboxEvent];
    AListIgnoresFilters => dead_letter::filters_narrow_a_list [OutboxEvent];
    RequeuesWhatIsReplayed => dead_letter::what_is_replayed_is_another_event [OutboxEvent];
    AReplayLeavesTheFailedOne => dead_letter::what_is_replayed_is_another_event [InboxEvent];
    ACopyIsForgotten => dead_letter::a_failure_is_copied_once [OutboxEvent];
    /// A copy counts for each later failure of its event.
    OneCopyIsForAllFailures => dead_letter::a_failure_is_copied_once [InboxEvent];
    RequeuesAllAgain => dead_letter::what_is_requeued_is_tried_again [InboxEvent];
    DeletesYoungDeadLetters => dead_letter::old_failed_events_are_deleted_in_bounds [OutboxEvent];
    DeletesDeadLettersWithoutBound => dead_letter::old_failed_events_are_deleted_in_bounds [InboxEvent];
    DeletesFailedEvents => retention::pending_and_failed_events_are_never_deleted [OutboxEvent];
    DeletesWhatIsYoung => retention::old_completed_events_are_deleted [InboxEvent];
    DeletesWithoutBound => retention::a_clean_up_is_bounded [OutboxEvent];
    ReleasesYoungClaims => retention::stale_claims_are_given_back [OutboxEvent];

    // leases
    TellsAnotherMode =>
        lanes::lease::the_mode_of_a_table_with_lanes_is_lanes,
        outbox::the_delivery_mode_is_that_of_the_table;
    KeepsALaneBack => lanes::lease::a_lone_owner_gets_every_lane;
    LeasesTheLanesOfOthers => lanes::lease::owners_that_begin_at_once_share_no_lane;
    AnIdleOwnerLosesItsLanes => lanes::settle::an_announcement_changes_no_lease;
    ATakeOverKeepsTheEpoch =>
        lanes::lease::an_expired_lease_is_taken_with_a_higher_epoch,
        lanes::settle::a_settlement_of_an_older_epoch_changes_nothing;
    ARenewalRaisesTheEpoch => lanes::lease::a_renewed_lease_keeps_its_epoch;
    LeasesNeverExpire => lanes::lease::an_expired_lease_is_taken_with_a_higher_epoch;
    SharesUnfairly => lanes::lease::lanes_are_shared_fairly;
    AReleaseKeepsTheLanes =>
        lanes::lease::a_released_lane_is_free_at_once,
        lanes::settle::who_gave_a_lane_back_changes_nothing;
    ReleasesTheLanesOfOthers => lanes::lease::a_release_leaves_the_leases_of_others_alone;
    WhoLeavesKeepsTheLanes => lanes::lease::who_leaves_is_not_counted_any_more;
    TakesLanesInAnyMode => lanes::lease::no_lane_is_taken_in_another_mode;
    /// A relay that comes back after its leases ran out renews them, whatever the mode is by then.
    RenewsLanesInAnyMode => lanes::lease::no_lane_is_taken_in_another_mode;

    // what an owner reads
    FetchesEveryLane => lanes::fetch::a_fetch_reads_the_lanes_it_is_asked_for;
    FetchesNothingScheduled => lanes::fetch::a_scheduled_event_is_read_when_it_is_due;
    /// Nothing becomes due for a day, it says.
    PromisesADayOfQuiet => lanes::fetch::quiet_is_promised_until_something_becomes_due;
    FetchesNothingWithoutAKey => lanes::fetch::events_without_a_key_are_read;
    /// One that is held holds all others that have no key.
    EventsWithoutAKeyHoldEachOther => lanes::hold::an_event_without_a_key_holds_no_other;
    /// A follower waits, whether or not its key has a head.
    FollowersWaitForNothing => lanes::hold::a_follower_without_a_head_stays_due;
    FetchesLanesBackwards => lanes::fetch::each_lane_is_read_in_order;
    /// Leaves out everything up to the highest in flight, instead of what is in flight.
    FetchesBehindACursor => lanes::fetch::an_event_that_commits_late_is_not_stepped_over;
    /// The time of a fetch is that of the row.
    AFetchTellsAnotherTime => lanes::fetch::a_fetch_tells_its_time;
    FetchesWhatIsInFlight => lanes::fetch::what_is_in_flight_is_left_out;
    FetchesWhatRests => lanes::fetch::heads_of_topics_that_rest_are_left_out;
    AFetchIgnoresTheLimitsOfLanes => lanes::fetch::a_fetch_keeps_the_limit_of_each_lane;
    AFetchIgnoresItsBytes => lanes::fetch::a_fetch_is_bounded_in_bytes;
    /// One that is larger than the bound in bytes is never returned.
    NeverFetchesALargeEvent => lanes::fetch::a_fetch_is_bounded_in_bytes;
    FollowersArePublishable =>
        lanes::hold::a_held_head_holds_its_key_and_no_other,
        lanes::hold::a_held_head_is_read_when_its_time_has_come,
        lanes::hold::a_release_waits_for_the_head,
        lanes::hold::a_scheduled_follower_joins_at_the_end,
        lanes::hold::a_new_owner_knows_what_is_held;

    // bounds
    /// A bound is a guess: what was read last.
    ABoundIsWhatWasReadLast => lanes::bound::what_commits_late_is_above_the_bound;
    /// A bound is the last event of its lane, also where a limit has cut it off.
    ABoundIgnoresLimits => lanes::bound::what_a_limit_cuts_off_is_above_the_bound;
    ABoundHidesHeads => lanes::bound::what_waited_is_read_below_the_bound;
    ABoundHidesTheScheduled => lanes::bound::what_waited_is_read_below_the_bound;
    ABoundHidesTheReleased => lanes::bound::what_waited_is_read_below_the_bound;
    /// A heartbeat notes how far the owner has read, and lanes are read from there.
    ANewOwnerBeginsWhereReadingEnded => lanes::bound::a_new_owner_reads_what_the_one_before_left;
    /// A heartbeat notes how far a lane is done, and followers below are not read once they are released.
    ANewOwnerMissesTheReleased => lanes::bound::a_new_owner_reads_what_was_released;

    // what an owner settles
    SettlesWithoutTheEpoch => lanes::settle::a_settlement_of_an_older_epoch_changes_nothing;
    /// Settles by all leases of the owner, not by those that are named.
    SettlesEveryLane => lanes::settle::events_of_other_lanes_are_not_settled;
    /// What waits for an operator is tried again after an hour.
    RetriesWithoutARequest => lanes::hold::what_waits_for_an_operator_is_never_due;
    SettlesWithoutTheOwner => lanes::settle::only_the_owner_settles;
    /// Says which leases are lost, and writes all the same.
    SettlesLostLanes => lanes::settle::who_was_taken_over_changes_nothing;
    ALostLaneStopsTheOthers => lanes::settle::a_lost_lane_does_not_stop_the_others;
    SettlesWhatIsNotPending => lanes::settle::only_pending_events_are_settled;
    SettlesAllButTheLast => lanes::settle::what_was_published_is_completed;
    CountsARepeatedHold =>
        lanes::settle::a_settlement_written_twice_counts_once,
        lanes::settle::attempts_are_counted_as_the_failure_says;
    AReleaseForgetsFollowers =>
        lanes::hold::a_release_restores_the_order,
        lanes::hold::very_many_followers_are_released_in_order,
        lanes::hold::a_head_that_fails_for_good_lets_its_key_go_on;
    /// Tells no key of which more waits.
    ForgetsTheRestOfARelease => lanes::hold::very_many_followers_are_released_in_order;
    /// Followers that are released come after what came later.
    FollowersJoinAtTheEnd => lanes::hold::a_release_restores_the_order;

    // wake-ups
    NeverWakes => wakeup::a_commit_wakes_who_waits;
    ForgetsWakeUps => wakeup::a_wake_up_is_kept_for_the_next_wait;

    // messages
    ReceivesTheCompletedAnew => inbox::receive::a_message_is_judged_by_its_row;
    AReceiveLocksNothing =>
        inbox::receive::of_two_owners_of_a_partition_one_waits,
        inbox::receive::what_was_received_is_undone_by_a_rollback;
    LooksMessagesUpInAnyGroup => inbox::receive::a_message_is_found_by_its_id_and_its_group;
    GroupsShareMessages => inbox::receive::each_group_has_its_own_messages;
    /// A message from another source is another message.
    SourcesAreCompared => inbox::receive::a_message_is_the_same_in_a_retry_topic;
    WaitsForNoRetry => inbox::receive::a_pending_message_says_how_long_it_waits;
    MissesConflicts => inbox::receive::another_message_with_the_same_id_is_a_conflict;
    /// What was given up and is sent again stays given up.
    SwallowsWhatIsSentAgain => inbox::receive::a_message_that_is_sent_again_is_tried_again;
    SettlesAGroupButItsLast => inbox::settle::a_group_is_settled_to_its_last_message;
    KeepsClaimsOfSettledMessages => inbox::settle::a_claim_ends_with_its_outcome;
    SettlesMessagesThatAreNotPending => inbox::settle::only_pending_messages_are_settled;
    QuarantinesText => inbox::quarantine::messages_are_kept_as_raw_bytes;
    QuarantinesRepeats => inbox::quarantine::a_message_is_kept_once;
    /// Another message at the place of one that is kept is dropped.
    QuarantineKnowsPlacesOnly => inbox::quarantine::a_message_is_kept_once;
    QuarantinesOutsideTheTransaction => inbox::quarantine::a_quarantine_is_undone_by_a_rollback;
    EveryPageOfTheQuarantineIsTheFirst => inbox::kept::a_quarantine_is_listed_as_it_came;
    ShowsAMessageWithoutItsTime => inbox::kept::a_message_is_shown_as_it_came;
    TakesOutOutsideTheTransaction => inbox::kept::a_message_is_taken_out_once;
    TakesNothingOut => inbox::kept::a_message_is_decoded_again_into_the_inbox;
    DeletesAYoungQuarantine => inbox::kept::an_old_quarantine_is_deleted_in_bounds;
    DeletesTheQuarantineWithoutBound => inbox::kept::an_old_quarantine_is_deleted_in_bounds;
    PendingMessagesComeBackwards => inbox::partition::pending_messages_come_in_the_order_of_their_offsets;
    PendingMessagesAreOfAnyPartition => inbox::partition::pending_messages_are_those_of_the_partition;
    PendingMessagesHaveNotFailed => inbox::partition::messages_that_wait_for_a_retry_are_pending;
    /// A message without a key has an order of its own.
    NoKeyIsAKey => inbox::partition::messages_without_a_key_keep_the_order_of_their_partition;
    /// Keys that are not text wait for each other.
    RawKeysAreOne =>
        inbox::partition::a_key_that_is_no_text_has_an_order_of_its_own,
        inbox::partition::a_key_that_is_no_text_is_claimed_in_its_own_order;
    RawKeysHaveNoOrder =>
        inbox::partition::a_key_that_is_no_text_has_an_order_of_its_own,
        inbox::partition::a_key_that_is_no_text_is_claimed_in_its_own_order;
    EveryEndIsClean => inbox::partition::a_partition_remembers_how_its_owner_ended;
    ALateDetachCounts => inbox::partition::a_partition_remembers_how_its_owner_ended;

    // members of groups
    AMemberIsNeverRefused => inbox::members::a_group_is_handled_in_one_way;
    AllGroupsAreOne => inbox::members::a_group_is_handled_in_one_way;
    /// A member that has ended without a word is there for good.
    MembersNeverEnd => inbox::members::a_member_that_does_not_renew_is_none;
    /// Who comes is looked at before those that come with it are there.
    MembersJoinBehindEachOthersBack => inbox::members::who_comes_at_once_agrees_on_one_way;

    // circuit breakers
    /// Each report begins a row of failures.
    ABreakerForgetsFailures => breaker::failures_of_all_open_a_breaker;
    AllBreakersAreOne => breaker::failures_of_all_open_a_breaker;
    AllHaveTheTrial => breaker::one_of_all_has_the_trial;
    /// The trial of a process that has ended is never another one's.
    ATrialNeverEnds => breaker::one_of_all_has_the_trial;
    AnySuccessClosesABreaker => breaker::an_open_breaker_hears_its_trial_alone;

    // samples
    ASampleForgetsWhatIsDue => inspection::outbox::what_is_due_is_counted_and_has_an_age;
    /// What is scheduled for later, or waits, has an age.
    ASampleAgesWhatWaits =>
        inspection::outbox::what_is_scheduled_counts_when_it_is_due,
        inspection::outbox::keys_that_wait_are_not_due;
    ASampleTakesParkedForRetrying => inspection::outbox::keys_that_wait_are_not_due;
    ASampleForgetsFailures =>
        inspection::outbox::what_was_given_up_is_counted,
        inspection::inbox::messages_are_counted_by_group;
    /// Whatever the mode, all lanes are without a lease.
    ASampleMissesLanes =>
        inspection::outbox::an_empty_outbox_has_nothing_to_tell,
        inspection::outbox::lanes_without_a_lease_are_counted;
    /// All groups are told of as one.
    ASampleKnowsOneGroup => inspection::inbox::messages_are_counted_by_group;
    /// Every pending message is due.
    ASampleTakesWaitingForDue => inspection::inbox::messages_that_wait_are_not_due;

    // savepoints
    ASavepointUndoesTheTransaction => savepoint::a_rollback_undoes_what_was_written_since;
    ASavepointUndoesNothing => savepoint::a_rollback_undoes_what_was_written_since;
    ASavepointIsUsedOnce => savepoint::a_savepoint_stays_set_after_a_rollback;
    ASavepointDoesNotAdvance => savepoint::an_advanced_savepoint_keeps_what_was_written;
    /// One that is gone is an error like any other.
    ASavepointIsNotMissed => savepoint::a_savepoint_that_is_gone_is_missed;

    // sealed transactions
    /// What is left for later stays completed, and is lost.
    NothingIsSetBack => sealed::what_is_left_for_later_is_pending;
    SetsBackAllButTheLast => sealed::what_is_left_for_later_is_pending;
    SetsBackTheWholeGroup => sealed::what_is_left_for_later_is_pending;
    /// A new message stays pending although it took effect: it would do so again.
    CompletesNothingUpFront => sealed::a_new_message_is_completed_by_the_commit;
    CompletesUpFrontWhatIsThere => sealed::a_known_message_is_judged_by_its_row;
    ReceivesOutsideTheSealedTransaction => sealed::a_rollback_leaves_nothing;
}

//! The suites of publishers and consumers.

/// A publisher as tests: the cases of [`EventPublisher`](omni_box_core::EventPublisher). `publisher_conformance!(MyFixture, send_order: Ordered)`,
/// where the fixture is a [`PublisherFixture`](crate::PublisherFixture).
///
/// `send_order` is `Ordered` or `OnePerKey`, as the publisher's own; one more test fails where the two differ. With `OnePerKey` there is no
/// test of the order of what is in flight.
#[macro_export]
macro_rules! publisher_conformance {
    ($fixture:ty, send_order: $send_order:ident $(,)?) => {
        $crate::__send_order_conformance! { $send_order, $fixture, (publisher): send_order_is_what_is_tested }
        $crate::__ordered_cases! { $send_order, $fixture, in (publisher):
            a_batch_of_one_key_arrives_in_order
        }
        $crate::__conformance_cases! { PublisherFixture, $fixture, [], in (publisher):
            each_event_is_reported_once
            what_is_reported_as_delivered_can_be_read
            events_of_a_key_arrive_in_order
            a_large_batch_is_no_error
            events_go_to_their_topics
            an_event_that_is_too_large_fails_alone
            a_missing_topic_stops_no_other
            a_purge_reports_everything_once
            what_was_purged_is_not_sent_later
            a_submit_that_was_dropped_does_no_harm
            a_broker_that_works_passes_the_check
        }
    };
}

/// A publisher whose broker goes away as tests: `outage_conformance!(MyFixture, send_order: Ordered)`, where the fixture is one of
/// [`Outages`](crate::Outages). `send_order` is as in [`publisher_conformance!`](crate::publisher_conformance).
#[macro_export]
macro_rules! outage_conformance {
    ($fixture:ty, send_order: $send_order:ident $(,)?) => {
        $crate::__send_order_conformance! { $send_order, $fixture, (outage): send_order_is_what_is_tested_in_outages }
        $crate::__ordered_cases! { $send_order, $fixture, in (outage):
            what_waited_arrives_in_order
        }
        $crate::__conformance_cases! { PublisherFixture, $fixture, [], in (outage):
            waiting_for_the_broker_is_no_error
            what_is_purged_in_an_outage_is_unavailable
            what_was_purged_is_not_sent_when_the_broker_is_back
            beginning_again_after_a_purge_keeps_the_order
            the_check_follows_the_broker
            purges_can_be_repeated
        }
    };
}

/// The test that what a publisher promises of what is in flight is what it is tested for.
#[doc(hidden)]
#[macro_export]
macro_rules! __send_order_conformance {
    ($send_order:ident, $fixture:ty, ($module:ident): $case:ident) => {
        #[::tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $case() {
            let create = <$fixture as $crate::PublisherFixture>::create;
            $crate::check(create, |fixture: $fixture| {
                $crate::$module::$case(fixture, $crate::send_order::$send_order)
            })
            .await;
        }
    };
}

/// Cases of publishers that keep the order of what is in flight.
#[doc(hidden)]
#[macro_export]
macro_rules! __ordered_cases {
    (Ordered, $fixture:ty, in $module:tt: $($case:ident)+) => {
        $crate::__conformance_cases! { PublisherFixture, $fixture, [], in $module: $($case)+ }
    };
    (OnePerKey, $fixture:ty, in $module:tt: $($case:ident)+) => {};
}

/// A consumer as tests: the cases of [`EventConsumer`](omni_box_core::EventConsumer) and what it hands over.
/// `consumer_conformance!(MyFixture)`, where the fixture is a [`ConsumerFixture`](crate::ConsumerFixture).
#[macro_export]
macro_rules! consumer_conformance {
    ($fixture:ty $(,)?) => {
        $crate::__conformance_cases! { ConsumerFixture, $fixture, [], in (consumer):
            a_new_group_reads_from_the_beginning
            a_message_comes_as_it_was_sent
            a_second_start_does_nothing
            each_partition_is_handed_over_once
            a_dropped_next_partition_loses_none
            a_new_member_continues_behind_what_is_committed
            what_is_not_acknowledged_comes_again
            nothing_is_committed_past_what_is_not_done
            marks_out_of_order_commit_together
            a_commit_is_with_the_broker_when_it_returns
            a_rewind_delivers_again_what_is_not_done
            a_rewind_with_everything_done_goes_on
            a_partition_that_is_not_read_waits
            groups_are_independent
            a_closed_consumer_gets_nothing
            a_close_lets_partitions_finish
            a_close_waits_as_long_as_the_consumer_says
            a_consumer_names_its_own_group
            a_partition_that_is_gone_cannot_be_acknowledged
            nothing_acknowledged_is_delivered_again
        }
        $crate::__conformance_cases! { ConsumerFixture, $fixture, [], in (consumer::handover):
            a_revoked_partition_goes_to_another_member
            a_partition_that_is_given_back_comes_again
            a_closed_member_leaves_its_partitions_to_others
            a_member_that_is_taken_out_loses_its_partitions
        }
    };
}

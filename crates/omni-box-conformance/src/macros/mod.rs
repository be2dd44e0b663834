//! The suites as tests. Each list in here is the list of a suite's cases; a test of this crate compares it with the suite.

mod broker;
mod store;

/// Expands into a test for each case of a module: makes the fixture, and is skipped where a server is missing. The kind is the trait that
/// the fixture is of; what the cases are generic over beside it is in brackets.
#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_cases {
    ($kind:ident, $fixture:ty, $of:tt, in $module:tt: $($case:ident)+) => {
        $($crate::__conformance_case! { $kind, $fixture, $of, in $module: $case })+
    };
}

/// One of them.
#[doc(hidden)]
#[macro_export]
macro_rules! __conformance_case {
    ($kind:ident, $fixture:ty, [$($of:ty),*], in ($($module:ident)::+): $case:ident) => {
        #[::tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $case() {
            let create = <$fixture as $crate::$kind>::create;
            $crate::check(create, $crate::$($module)::+::$case::<$fixture $(, $of)*>).await;
        }
    };
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    /// The modules of cases, by their name in the lists.
    const SUITES: &[(&str, &str)] = &[
        ("bare", include_str!("../bare.rs")),
        ("breaker", include_str!("../breaker.rs")),
        ("bulk", include_str!("../bulk.rs")),
        ("consumer", include_str!("../consumer/mod.rs")),
        ("consumer::handover", include_str!("../consumer/handover.rs")),
        ("dead_letter", include_str!("../dead_letter.rs")),
        ("inbox::bare", include_str!("../inbox/bare.rs")),
        ("inbox::kept", include_str!("../inbox/kept.rs")),
        ("inbox::members", include_str!("../inbox/members.rs")),
        ("inbox::partition", include_str!("../inbox/partition.rs")),
        ("inbox::quarantine", include_str!("../inbox/quarantine.rs")),
        ("inbox::receive", include_str!("../inbox/receive.rs")),
        ("inbox::settle", include_str!("../inbox/settle.rs")),
        ("inspection::inbox", include_str!("../inspection/inbox.rs")),
        ("inspection::outbox", include_str!("../inspection/outbox.rs")),
        ("lanes::bound", include_str!("../lanes/bound.rs")),
        ("lanes::fetch", include_str!("../lanes/fetch.rs")),
        ("lanes::hold", include_str!("../lanes/hold.rs")),
        ("lanes::lease", include_str!("../lanes/lease.rs")),
        ("lanes::settle", include_str!("../lanes/settle.rs")),
        ("locking", include_str!("../locking.rs")),
        ("outage", include_str!("../outage.rs")),
        ("outbox", include_str!("../outbox.rs")),
        ("publisher", include_str!("../publisher.rs")),
        ("repository::create", include_str!("../repository/create.rs")),
        ("repository::fetch", include_str!("../repository/fetch.rs")),
        ("repository::mark", include_str!("../repository/mark.rs")),
        ("retention", include_str!("../retention.rs")),
        ("savepoint", include_str!("../savepoint.rs")),
        ("wakeup", include_str!("../wakeup.rs")),
    ];

    /// The names in the lists of a module's cases.
    fn listed(module: &str) -> BTreeSet<&'static str> {
        let opening = format!("in ({module}):");
        [include_str!("store.rs"), include_str!("broker.rs")]
            .into_iter()
            .flat_map(|file| file.split(&opening).skip(1))
            .flat_map(|list| list.split('}').next().unwrap_or_default().split_whitespace())
            .collect()
    }

    #[test]
    fn every_case_is_in_the_list_of_its_suite() {
        for (module, source) in SUITES {
            let cases: BTreeSet<&str> = source
                .split("\npub async fn ")
                .skip(1)
                .filter_map(|case| case.split('<').next())
                // run by the macro itself, with the list that it was given
                .filter(|case| !case.starts_with("capabilities_are") && !case.starts_with("send_order_is"))
                .collect();
            assert!(!cases.is_empty(), "{module} has cases");
            assert_eq!(listed(module), cases, "the list of {module} in macros/, and its cases");
        }
    }
}

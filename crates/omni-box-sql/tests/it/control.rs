//! The control row, and what may be made of it.

use omni_box_core::{DeliveryMode, ErrorKind};
use omni_box_sql::{Migration, Migrations, by_mode, check_drained, check_lanes, delivery_mode};

use crate::dialect::MySql;

static MIGRATIONS: Migrations =
    Migrations { ledger: "", all: &[Migration { version: 2, name: "schema", template: "", oldest: 2 }] };

#[test]
fn the_mode_counts_only_in_a_schema_of_the_right_version() {
    let mode = |row: Option<(&str, i32, Option<i64>)>| {
        let row = row.map(|(mode, version, oldest)| (mode.to_owned(), version, oldest));
        delivery_mode(&MySql::default(), &MIGRATIONS, row)
    };
    assert_eq!(mode(Some(("rows", 2, Some(2)))).unwrap(), DeliveryMode::Rows);
    assert_eq!(mode(Some(("lanes", 2, None))).unwrap(), DeliveryMode::Lanes);
    assert_eq!(mode(Some(("rows", 5, Some(2)))).unwrap(), DeliveryMode::Rows, "newer, and for this program");
    assert_eq!(mode(Some(("sideways", 2, Some(1)))).unwrap_err().kind(), ErrorKind::Invalid);
    for (row, says) in [
        (None, "table `omni_box_control` is empty, run the store's `migrate`"),
        (Some(("rows", 1, Some(1))), "table `omni_box_control` says schema version 1, this program needs 2"),
        (Some(("rows", 3, Some(3))), "table `omni_box_control` says schema version 3, this program needs 2"),
        (Some(("rows", 3, None)), "table `omni_box_control` says schema version 3, this program needs 2"),
    ] {
        let error = mode(row).unwrap_err();
        assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Misconfigured, says));
    }
}

#[test]
fn the_mode_is_changed_to_one_that_there_is_under_nobodys_hands() {
    assert_eq!(by_mode(DeliveryMode::Lanes, 1, 2).unwrap(), 1);
    assert_eq!(by_mode(DeliveryMode::Rows, 1, 2).unwrap(), 2);
    assert_eq!(by_mode(DeliveryMode::Fenced, 1, 2).unwrap_err().kind(), ErrorKind::Unsupported);
    check_drained(0, 0).unwrap();
    for (leased, claimed) in [(1, 0), (0, 1)] {
        assert_eq!(check_drained(leased, claimed).unwrap_err().kind(), ErrorKind::Misconfigured);
    }
}

#[test]
fn lanes_are_taken_in_their_own_mode() {
    check_lanes(Some("lanes")).unwrap();
    for (mode, says) in [
        (
            Some("rows"),
            "lanes cannot be taken, the table's delivery mode is rows now: start this relay again",
        ),
        (None, "lanes cannot be taken, the table has no delivery mode: run the store's `migrate`"),
    ] {
        let error = check_lanes(mode).unwrap_err();
        assert_eq!((error.kind(), error.to_string().as_str()), (ErrorKind::Misconfigured, says));
    }
}

//! Connections without a transaction: an event stored through one would exist although the business write beside it failed.

use omni_box_core::{ErrorKind, EventRepository};

use super::table::Table;
use super::{BareConnections, Specimen};

/// `create`: `NoTransaction` when `conn` has no open transaction; nothing is stored.
pub async fn a_create_outside_a_transaction_is_refused<F, E>(fixture: F)
where
    F: BareConnections<Store: EventRepository<E>>,
    E: Specimen,
{
    let table = Table::<_, E>::first(&fixture).await;
    let events = [E::of("a"), E::of("b"), E::of("c")];
    {
        let mut conn = fixture.bare().await;
        // twice: the refusal leaves the connection as it was
        for _ in 0..2 {
            let one = table.store.create(&mut conn, &events[0]).await.map(|_| ());
            let many = table.store.create_many(&mut conn, &events[1..]).await.map(|_| ());
            for (call, refused) in [("create", one), ("create_many", many)] {
                let error =
                    refused.expect_err("a connection that commits each statement by itself is refused");
                assert_eq!(error.kind(), ErrorKind::NoTransaction, "kind of the error of {call}: {error:?}");
            }
        }
    }
    assert!(table.pending().await.is_empty(), "what was refused is not stored");
    table.create(&events).await;
    assert_eq!(
        table.row(&events[0]).await.id(),
        events[0].id(),
        "inside a transaction the same event is stored"
    );
}

//! [`GroupMembers`](omni_box_core::store::GroupMembers): the messages of a group are handled in one way.

use omni_box_core::store::{GroupHandling, GroupMembers};
use omni_box_core::{ConsumerGroup, InboxRepository, OwnerId};

use crate::StoreFixture;
use crate::table::{MINUTE, TTL};
use crate::transaction::retried;

/// A store as one process sees it.
struct Seen<S>(S);

impl<S: InboxRepository> Seen<S> {
    async fn by<F: StoreFixture<Store = S>>(fixture: &F) -> Self {
        Self(fixture.open().await)
    }

    fn members(&self) -> &dyn GroupMembers {
        self.0.members().expect("a store that is tested for members has them")
    }

    async fn join(&self, group: &str, member: OwnerId, handling: GroupHandling) -> bool {
        let group = ConsumerGroup::new(group).expect("a valid name");
        retried("join a group", async || self.members().join(&group, member, handling, TTL).await).await
    }

    async fn leave(&self, member: OwnerId) {
        retried("leave a group", async || self.members().leave(member).await).await;
    }
}

/// `join`: who handles a group's messages in another way than its members is refused, until the last of them has left.
pub async fn a_group_is_handled_in_one_way<F>(fixture: F)
where
    F: StoreFixture<Store: InboxRepository>,
{
    let (one, other) = (Seen::by(&fixture).await, Seen::by(&fixture).await);
    let [a, b, c] = [0; 3].map(|_| OwnerId::generate());
    for (ours, theirs) in
        [(GroupHandling::Direct, GroupHandling::Stored), (GroupHandling::Stored, GroupHandling::Direct)]
    {
        assert!(one.join("shipping", a, ours).await, "nothing stands against the first");
        assert!(other.join("shipping", b, ours).await, "another one in the same way is accepted");
        assert!(!other.join("shipping", c, theirs).await, "one in another way is refused");
        assert!(other.join("billing", c, theirs).await, "another group has its own way");
        other.leave(c).await;
        one.leave(a).await;
        assert!(!one.join("shipping", c, theirs).await, "one is still there");
        other.leave(b).await;
        assert!(one.join("shipping", c, theirs).await, "the last has left");
        one.leave(c).await;
    }
}

/// `join`: a member that renews stays; one that does not has left when its time is over.
pub async fn a_member_that_does_not_renew_is_none<F>(fixture: F)
where
    F: StoreFixture<Store: InboxRepository>,
{
    let (one, other) = (Seen::by(&fixture).await, Seen::by(&fixture).await);
    let [a, b] = [0; 2].map(|_| OwnerId::generate());
    assert!(one.join("shipping", a, GroupHandling::Direct).await, "nothing stands against the first");
    fixture.advance(TTL / 2).await;
    assert!(one.join("shipping", a, GroupHandling::Direct).await, "it renews in time");
    fixture.advance(TTL / 2 + MINUTE / 6).await;
    assert!(!other.join("shipping", b, GroupHandling::Stored).await, "it is there since it has renewed");
    fixture.advance(TTL).await;
    assert!(other.join("shipping", b, GroupHandling::Stored).await, "its time is over");
    assert!(!one.join("shipping", a, GroupHandling::Direct).await, "it comes too late, and is refused");
    assert!(other.join("shipping", b, GroupHandling::Stored).await, "that does nothing to the other");
}

/// `join`: of several that come at once, those that are accepted handle messages in one way.
pub async fn who_comes_at_once_agrees_on_one_way<F>(fixture: F)
where
    F: StoreFixture<Store: InboxRepository>,
{
    let (one, other) = (Seen::by(&fixture).await, Seen::by(&fixture).await);
    for round in 0..10 {
        let group = format!("group {round}");
        let [a, b] = [0; 2].map(|_| OwnerId::generate());
        let (direct, stored) = tokio::join!(
            one.join(&group, a, GroupHandling::Direct),
            other.join(&group, b, GroupHandling::Stored)
        );
        assert!(direct != stored, "one of two is accepted: {direct}, {stored}");
    }
}

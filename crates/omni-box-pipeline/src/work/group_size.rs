//! How many messages the next group has.

/// Shrinks groups to find the message that makes them fail, and lets them grow again when those it may be are through.
#[derive(Debug)]
pub(super) struct GroupSize {
    full: usize,
    limit: usize,
    /// Messages that the culprit is among.
    suspects: usize,
}

impl GroupSize {
    pub(super) fn new(full: usize) -> Self {
        Self { full, limit: full, suspects: 0 }
    }

    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// A group of this many failed: the next ones are half as large.
    pub(super) fn split(&mut self, group: usize) {
        self.suspects = self.suspects.max(group);
        self.limit = (group / 2).max(1);
    }

    /// A group of this many failed: its messages go one at a time.
    pub(super) fn one_by_one(&mut self, group: usize) {
        self.suspects = self.suspects.max(group);
        self.limit = 1;
    }

    /// This many messages are through.
    pub(super) fn passed(&mut self, messages: usize) {
        self.suspects = self.suspects.saturating_sub(messages);
        if self.suspects == 0 {
            self.limit = self.full;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::GroupSize;

    #[test]
    fn halves_until_alone_and_grows_when_the_suspects_are_through() {
        let mut group_size = GroupSize::new(60);
        group_size.split(60);
        assert_eq!(group_size.limit(), 30);
        group_size.split(30);
        assert_eq!(group_size.limit(), 15);
        group_size.passed(15);
        assert_eq!(group_size.limit(), 15, "45 suspects are left");
        group_size.split(15);
        group_size.split(7);
        group_size.split(3);
        assert_eq!(group_size.limit(), 1);
        group_size.split(1);
        assert_eq!(group_size.limit(), 1);
        group_size.passed(45);
        assert_eq!(group_size.limit(), 60);
    }
}

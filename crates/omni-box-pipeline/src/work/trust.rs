//! Whether the next group may go without savepoints.

/// Grows with groups in which each message succeeded.
#[derive(Debug)]
pub(super) struct Trust {
    /// Groups without a failure, in a row.
    clean: u32,
    /// How many it takes.
    needed: u32,
}

impl Trust {
    /// However often a group without savepoints has failed.
    const MOST_NEEDED: u32 = 64;

    pub(super) fn new() -> Self {
        Self { clean: 0, needed: 1 }
    }

    pub(super) fn holds(&self) -> bool {
        self.clean >= self.needed
    }

    /// All messages of a group have succeeded.
    pub(super) fn passed(&mut self) {
        if self.holds() {
            self.needed = (self.needed / 2).max(1);
        }
        self.clean = self.clean.saturating_add(1);
    }

    /// A message failed, or a transaction.
    pub(super) fn failed(&mut self) {
        self.clean = 0;
    }

    /// A group without savepoints failed, and is done again: twice the work, so the next one is longer in coming each time.
    pub(super) fn disappointed(&mut self) {
        self.failed();
        self.needed = (self.needed * 2).min(Self::MOST_NEEDED);
    }
}

#[cfg(test)]
mod tests {
    use super::Trust;

    #[test]
    fn each_disappointment_takes_longer_and_success_shortens_it() {
        let mut trust = Trust::new();
        assert!(!trust.holds(), "nothing is known yet");
        trust.passed();
        assert!(trust.holds());
        trust.disappointed();
        trust.passed();
        assert!(!trust.holds(), "it takes two now");
        trust.passed();
        assert!(trust.holds());
        trust.passed();
        trust.failed();
        trust.passed();
        assert!(trust.holds(), "a group without savepoints that passed made it one again");
        (0..40).for_each(|_| trust.disappointed());
        (0..64).for_each(|_| trust.passed());
        assert!(trust.holds());
    }
}

//! The log of a partition: records with offsets that have gaps, some of transactions that may not have ended.

use std::collections::BTreeMap;

use omni_box_core::InboundMessage;

/// Records in the order of their offsets.
#[derive(Debug, Default)]
pub(super) struct Log {
    records: Vec<Record>,
    end: i64,
    /// The first offset of each open transaction.
    open: BTreeMap<u64, i64>,
}

#[derive(Debug)]
struct Record {
    message: InboundMessage,
    fate: Fate,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Committed,
    /// Its transaction is open.
    Open(u64),
    Aborted,
}

/// How a transaction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    Commit,
    Abort,
}

impl Log {
    /// Appends a record at the end, and returns its offset.
    pub(super) fn append(&mut self, mut message: InboundMessage, transaction: Option<u64>) -> i64 {
        let offset = self.end;
        message.offset = offset;
        if let Some(transaction) = transaction {
            self.open.entry(transaction).or_insert(offset);
        }
        self.records.push(Record { message, fate: transaction.map_or(Fate::Committed, Fate::Open) });
        self.end += 1;
        offset
    }

    /// Leaves offsets out, as compaction does.
    pub(super) fn skip(&mut self, count: u32) {
        self.end += i64::from(count);
    }

    /// Ends a transaction, if it wrote here. Its marker takes an offset.
    pub(super) fn finish(&mut self, transaction: u64, ending: Ending) {
        if self.open.remove(&transaction).is_none() {
            return;
        }
        let fate = match ending {
            Ending::Commit => Fate::Committed,
            Ending::Abort => Fate::Aborted,
        };
        let written = self.records.iter_mut().filter(|record| record.fate == Fate::Open(transaction));
        written.for_each(|record| record.fate = fate);
        self.skip(1);
    }

    /// The offset of the next record.
    pub(super) fn end(&self) -> i64 {
        self.end
    }

    /// The last stable offset: from there on a transaction is open.
    fn stable_end(&self) -> i64 {
        self.open.values().min().copied().unwrap_or(self.end)
    }

    /// What a `read_committed` consumer sees from an offset on.
    pub(super) fn committed_from(&self, offset: i64) -> impl Iterator<Item = &InboundMessage> {
        let (first, stable_end) = (self.at(offset), self.stable_end());
        let stable =
            self.records[first..].iter().take_while(move |record| record.message.offset < stable_end);
        stable.filter(|record| record.fate == Fate::Committed).map(|record| &record.message)
    }

    /// Everything that was ever appended.
    pub(super) fn all(&self) -> impl Iterator<Item = &InboundMessage> {
        self.records.iter().map(|record| &record.message)
    }

    fn at(&self, offset: i64) -> usize {
        self.records.partition_point(|record| record.message.offset < offset)
    }
}

//! How far the orders are, on a terminal and off it.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use anyhow::Result;
use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use sqlx::PgPool;

const LINE_EVERY: Duration = Duration::from_secs(1);

/// What the tables hold.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) orders: u64,
    pub(super) published: u64,
    /// Orders that have a shipment.
    pub(super) shipped: u64,
    /// Events of either service that are not published.
    pub(super) waiting: u64,
}

impl Counts {
    pub(super) async fn read(orders: &PgPool, shipping: &PgPool) -> Result<Self> {
        let (placed, published, waiting): (i64, i64, i64) = sqlx::query_as(
            "select (select count(*) from orders),
                    count(*) filter (where status = 'completed'), count(*) filter (where status <> 'completed')
             from outbox_events",
        )
        .fetch_one(orders)
        .await?;
        let (shipped, waiting_too): (i64, i64) = sqlx::query_as(
            "select (select count(distinct order_id) from shipments),
                    (select count(*) from outbox_events where status <> 'completed')",
        )
        .fetch_one(shipping)
        .await?;
        Ok(Self {
            orders: placed.cast_unsigned(),
            published: published.cast_unsigned(),
            shipped: shipped.cast_unsigned(),
            waiting: (waiting + waiting_too).cast_unsigned(),
        })
    }
}

/// Bars on a terminal, else a line a second.
pub(super) struct Progress {
    all: u64,
    bars: Option<Bars>,
    shown: Option<(Instant, Counts)>,
}

struct Bars {
    area: MultiProgress,
    placed: ProgressBar,
    published: ProgressBar,
    shipped: ProgressBar,
}

impl Progress {
    pub(super) fn start(all: u64) -> Result<Self> {
        let bars = if std::io::stderr().is_terminal() { Some(Bars::new(all)?) } else { None };
        Ok(Self { all, bars, shown: None })
    }

    pub(super) fn show(&mut self, counts: Counts) {
        if let Some(bars) = &self.bars {
            bars.placed.set_position(counts.orders);
            bars.published.set_position(counts.published);
            bars.shipped.set_position(counts.shipped);
            return;
        }
        let is_due = self.shown.is_none_or(|(at, before)| {
            before != counts && (at.elapsed() >= LINE_EVERY || counts.shipped == self.all)
        });
        if is_due {
            let Counts { orders, published, shipped, .. } = counts;
            eprintln!("placed {orders}, published {published}, shipped {shipped} of {}", self.all);
            self.shown = Some((Instant::now(), counts));
        }
    }

    /// Tells something that happened.
    pub(super) fn tell(&self, text: &str) {
        match &self.bars {
            // Only fails when the terminal is gone, and then nothing is read.
            Some(bars) => drop(bars.area.println(text)),
            None => eprintln!("{text}"),
        }
    }
}

impl Bars {
    fn new(all: u64) -> Result<Self> {
        let area = MultiProgress::new();
        let style = ProgressStyle::with_template("{prefix:>9} {bar:40} {pos}/{len}")?;
        let bar = |name| area.add(ProgressBar::new(all)).with_style(style.clone()).with_prefix(name);
        Ok(Self { placed: bar("placed"), published: bar("published"), shipped: bar("shipped"), area })
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        for bar in [&self.placed, &self.published, &self.shipped] {
            bar.abandon();
        }
    }
}

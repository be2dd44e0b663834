//! What the databases and the topics say in the end.

use std::collections::{HashMap, HashSet};
use std::fmt;

use anyhow::Result;
use comfy_table::Table;
use comfy_table::presets::ASCII_MARKDOWN;
use omni_box_harness::judge::{Enqueued, Finding, History, Message, Verdict, judge_delivery};
use omni_box_harness::topic::{Isolation, Record, read_topic};
use serde_json::{Value, json};
use sqlx::PgPool;
use uuid::Uuid;

/// A row of the orders.
struct Order {
    id: Uuid,
    customer: String,
    number: i64,
}

/// A row of the shipments.
#[derive(Clone)]
struct Shipment {
    id: Uuid,
    order_id: Uuid,
    customer: String,
    number: i64,
}

/// All there is to judge by.
#[derive(Default)]
pub(super) struct Evidence {
    /// Orders that the service said it has.
    accepted: Vec<Uuid>,
    orders: Vec<Order>,
    /// In the order of `seq`.
    shipments: Vec<Shipment>,
    /// `order.placed` on the topic; a message's id is the order's.
    placed: Vec<Message>,
    /// `order.shipped` on the topic; a message's id is the shipment's.
    shipped: Vec<Message>,
}

/// Where the services' topics are, and what they are called.
pub(super) struct Topics {
    pub(super) brokers: String,
    pub(super) orders: String,
    pub(super) shipments: String,
}

impl Evidence {
    pub(super) async fn gather(
        accepted: Vec<Uuid>,
        orders: &PgPool,
        shipping: &PgPool,
        topics: &Topics,
    ) -> Result<Self> {
        let placed = read_topic(&topics.brokers, &topics.orders, Isolation::ReadCommitted).await?;
        let shipped = read_topic(&topics.brokers, &topics.shipments, Isolation::ReadCommitted).await?;
        let orders: Vec<(Uuid, String, i64)> =
            sqlx::query_as("select id, customer, number from orders").fetch_all(orders).await?;
        let shipments: Vec<(Uuid, Uuid, String, i64)> =
            sqlx::query_as("select id, order_id, customer, number from shipments order by seq")
                .fetch_all(shipping)
                .await?;
        Ok(Self {
            accepted,
            orders: orders.into_iter().map(|(id, customer, number)| Order { id, customer, number }).collect(),
            shipments: shipments
                .into_iter()
                .map(|(id, order_id, customer, number)| Shipment { id, order_id, customer, number })
                .collect(),
            placed: placed.into_iter().map(|record| message(ORDERS, "order_id", record)).collect(),
            shipped: shipped.into_iter().map(|record| message(SHIPMENTS, "shipment_id", record)).collect(),
        })
    }
}

// names in findings; those of the real topics are longer and say no more
const ORDERS: &str = "orders";
const SHIPMENTS: &str = "shipments";

fn message(topic: &str, id: &str, record: Record) -> Message {
    let body: Option<Value> = record.value.and_then(|value| serde_json::from_slice(&value).ok());
    let id = body.as_ref().and_then(|body| body["payload"][id].as_str());
    Message {
        id: id.unwrap_or("unreadable").to_owned(),
        topic: topic.to_owned(),
        partition: record.partition,
        offset: record.offset,
        key: record.key,
    }
}

/// The result.
#[derive(Default)]
pub(super) struct Outcome {
    placed: u64,
    published: u64,
    shipments: u64,
    /// What one of the databases or topics has, and the next one has not; a message that belongs to nothing counts too.
    missing: Finding,
    /// Shipments beyond the first of an order.
    duplicate_effects: Finding,
    /// Messages and shipments that came behind a later one of the same customer.
    out_of_order: Finding,
    /// Repeats on the topics. The outbox promises at least once: these are allowed.
    duplicate_messages: u64,
    seconds: f64,
}

/// Judges the evidence.
pub(super) fn judge(evidence: &Evidence, seconds: f64) -> Outcome {
    let Evidence { accepted, orders, shipments, placed, shipped } = evidence;
    let mut outcome = Outcome {
        placed: accepted.len() as u64,
        shipments: shipments.len() as u64,
        seconds,
        ..Outcome::default()
    };

    let ids: HashSet<Uuid> = orders.iter().map(|order| order.id).collect();
    for order in accepted.iter().filter(|order| !ids.contains(order)) {
        outcome.missing.add(|| format!("order {order} was accepted and is not in the table"));
    }

    let events = orders.iter().map(|order| enqueued(ORDERS, order.id, &order.customer, order.number));
    let verdict = judge_topic(events.collect(), placed);
    outcome.published = verdict.published;
    outcome.add_topic("order.placed", verdict, Sequence::Promised);

    // a shipment's event is enqueued by its handler: the order of the shipments is judged below, once
    let events = shipments.iter().map(|shipment| enqueued(SHIPMENTS, shipment.id, &shipment.customer, 0));
    outcome.add_topic("order.shipped", judge_topic(events.collect(), shipped), Sequence::JudgedElsewhere);

    outcome.add_shipments(&ids, shipments);
    outcome
}

fn enqueued(topic: &str, id: Uuid, customer: &str, number: i64) -> Enqueued {
    Enqueued {
        id: id.to_string(),
        topic: topic.to_owned(),
        key: Some(customer.to_owned()),
        // of one customer's orders, each commits before the next one starts
        tx: number,
        started: number * 2,
        committed: Some(number * 2 + 1),
    }
}

fn judge_topic(enqueued: Vec<Enqueued>, messages: &[Message]) -> Verdict {
    judge_delivery(&History { enqueued, messages: messages.to_vec(), ..History::default() })
}

enum Sequence {
    Promised,
    JudgedElsewhere,
}

impl Outcome {
    fn add_topic(&mut self, name: &str, verdict: Verdict, sequence: Sequence) {
        let named = |finding: Finding, what: &str| Finding {
            count: finding.count,
            examples: finding.examples.iter().map(|example| format!("{name} {what}: {example}")).collect(),
        };
        self.missing.merge(named(verdict.missing, "is not on the topic"));
        self.missing.merge(named(verdict.phantom, "belongs to no row"));
        self.out_of_order.merge(named(verdict.misrouted, "is on the wrong partition"));
        if matches!(sequence, Sequence::Promised) {
            self.out_of_order.merge(named(verdict.out_of_order, "is out of order"));
        }
        self.duplicate_messages += verdict.duplicates;
    }

    fn add_shipments(&mut self, orders: &HashSet<Uuid>, shipments: &[Shipment]) {
        let mut seen: HashSet<Uuid> = HashSet::new();
        let mut last: HashMap<&str, i64> = HashMap::new();
        for Shipment { id, order_id, customer, number } in shipments {
            if !orders.contains(order_id) {
                self.missing.add(|| format!("shipment {id} is of no order"));
            }
            if !seen.insert(*order_id) {
                self.duplicate_effects.add(|| format!("order {order_id} was shipped again: {id}"));
                continue;
            }
            let last = last.entry(customer).or_insert(*number);
            if number < last {
                self.out_of_order.add(|| format!("{customer}: order {number} was shipped behind {last}"));
            } else {
                *last = *number;
            }
        }
        for order in orders.difference(&seen) {
            self.missing.add(|| format!("order {order} was not shipped"));
        }
    }

    /// Whether every promise was kept.
    pub(super) fn is_good(&self) -> bool {
        [&self.missing, &self.duplicate_effects, &self.out_of_order].iter().all(|finding| finding.is_empty())
    }

    /// The same names as in the table.
    pub(super) fn to_json(&self) -> Value {
        json!({
            "placed": self.placed,
            "published": self.published,
            "shipments": self.shipments,
            "missing": self.missing.count,
            "duplicate_effects": self.duplicate_effects.count,
            "out_of_order": self.out_of_order.count,
            "duplicate_messages": self.duplicate_messages,
            "seconds": self.seconds,
        })
    }

    /// What was broken, a line each, and where to start looking.
    pub(super) fn explanation(&self) -> String {
        let broken = [
            ("missing", "lost on the way", &self.missing),
            ("duplicate_effects", "took effect more than once", &self.duplicate_effects),
            ("out_of_order", "came behind a later one of the same customer", &self.out_of_order),
        ];
        let mut text = String::new();
        for (name, meaning, finding) in broken.into_iter().filter(|(_, _, finding)| !finding.is_empty()) {
            text.push_str(&format!("{name}: {} {meaning}\n", finding.count));
            for example in &finding.examples {
                text.push_str(&format!("  {example}\n"));
            }
        }
        text
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = Table::new();
        table.load_style(ASCII_MARKDOWN);
        table.set_header(["", "count", "expected"]);
        let wanted = self.placed.to_string();
        let rows = [
            ("placed", self.placed, ""),
            ("published", self.published, &wanted),
            ("shipments", self.shipments, &wanted),
            ("missing", self.missing.count, "0"),
            ("duplicate_effects", self.duplicate_effects.count, "0"),
            ("out_of_order", self.out_of_order.count, "0"),
            ("duplicate_messages", self.duplicate_messages, "any"),
        ];
        for (name, count, expected) in rows {
            table.add_row([name, &count.to_string(), expected]);
        }
        table.add_row(["seconds", &format!("{:.1}", self.seconds), ""]);
        write!(f, "{table}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Orders and what should follow from them, customers on partitions of their own.
    fn kept(customers: u128, numbers: i64) -> Evidence {
        let mut evidence = Evidence::default();
        for customer in 0..customers {
            let name = format!("customer-{customer}");
            for number in 1..=numbers {
                let id = Uuid::from_u128(customer * 1000 + number.cast_unsigned() as u128);
                let shipment = Uuid::from_u128(u128::MAX - id.as_u128());
                let message = |topic: &str, id: Uuid| Message {
                    id: id.to_string(),
                    topic: topic.to_owned(),
                    partition: customer as i32,
                    offset: number,
                    key: Some(name.clone().into_bytes()),
                };
                evidence.accepted.push(id);
                evidence.placed.push(message(ORDERS, id));
                evidence.shipped.push(message(SHIPMENTS, shipment));
                evidence.orders.push(Order { id, customer: name.clone(), number });
                evidence.shipments.push(Shipment {
                    id: shipment,
                    order_id: id,
                    customer: name.clone(),
                    number,
                });
            }
        }
        evidence
    }

    /// Missing, duplicate effects, out of order, duplicate messages.
    fn counts(change: impl FnOnce(&mut Evidence)) -> [u64; 4] {
        let mut evidence = kept(3, 4);
        change(&mut evidence);
        let outcome = judge(&evidence, 1.0);
        let counts = [&outcome.missing, &outcome.duplicate_effects, &outcome.out_of_order]
            .map(|finding| finding.count);
        assert_eq!(outcome.is_good(), counts == [0, 0, 0]);
        assert_eq!(outcome.explanation().is_empty(), outcome.is_good());
        [counts[0], counts[1], counts[2], outcome.duplicate_messages]
    }

    #[test]
    fn finds_nothing_where_all_promises_are_kept() {
        assert_eq!(counts(|_| {}), [0, 0, 0, 0]);
        let outcome = judge(&kept(3, 4), 1.0);
        assert_eq!((outcome.placed, outcome.published, outcome.shipments), (12, 12, 12));
    }

    #[test]
    fn finds_what_is_missing_anywhere() {
        assert_eq!(counts(|all| drop(all.placed.remove(5))), [1, 0, 0, 0]);
        assert_eq!(counts(|all| drop(all.shipped.remove(5))), [1, 0, 0, 0]);
        assert_eq!(counts(|all| all.accepted.push(Uuid::nil())), [1, 0, 0, 0]);
        // the order is not shipped, and the event on the topic is of no shipment
        assert_eq!(counts(|all| drop(all.shipments.remove(5))), [2, 0, 0, 0]);
        // accepted, published and shipped, and yet not in the table
        assert_eq!(counts(|all| drop(all.orders.remove(5))), [3, 0, 0, 0]);
    }

    #[test]
    fn finds_a_second_shipment_of_an_order() {
        let again = |all: &mut Evidence| {
            all.shipments.push(Shipment { id: Uuid::nil(), ..all.shipments[5].clone() });
            let message = Message { id: Uuid::nil().to_string(), offset: 99, ..all.shipped[5].clone() };
            all.shipped.push(message);
        };
        assert_eq!(counts(again), [0, 1, 0, 0]);
    }

    #[test]
    fn finds_orders_that_were_published_or_shipped_out_of_order() {
        assert_eq!(counts(|all| all.placed.swap(5, 6)), [0, 0, 1, 0]);
        assert_eq!(counts(|all| all.shipments.swap(5, 6)), [0, 0, 1, 0]);
        assert_eq!(counts(|all| all.placed[6].partition = 2), [0, 0, 1, 0]);
    }

    #[test]
    fn allows_and_counts_repeated_messages() {
        assert_eq!(counts(|all| all.placed.push(all.placed[5].clone())), [0, 0, 0, 1]);
        assert_eq!(counts(|all| all.shipped.push(all.shipped[5].clone())), [0, 0, 0, 1]);
    }
}

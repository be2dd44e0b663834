//! What omni-box's tests stand on: servers, a database and topics of one's own, processes to kill.

pub mod judge;
pub mod services;

/// Environment variable with the URL of a PostgreSQL database that the tests may create others from.
pub const DATABASE_URL: &str = "OMNI_BOX_DATABASE_URL";
/// Environment variable with Kafka's bootstrap servers.
pub const KAFKA_BROKERS: &str = "OMNI_BOX_KAFKA_BROKERS";
/// Environment variable that turns a skipped test into a failed one when it is `1`.
pub const REQUIRE: &str = "OMNI_BOX_TEST_REQUIRE";

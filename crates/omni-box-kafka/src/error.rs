//! What librdkafka's codes mean to omni-box.

use omni_box_core::{Error, ErrorKind};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

/// Whose fault a code is.
pub(crate) fn kind(code: Code) -> ErrorKind {
    match code {
        Code::MessageSizeTooLarge | Code::InvalidMessageSize => ErrorKind::TooLarge,
        Code::BadMessage
        | Code::InvalidRecord
        | Code::InvalidTimestamp
        | Code::UnsupportedForMessageFormat
        | Code::PolicyViolation
        | Code::KeySerialization
        | Code::ValueSerialization => ErrorKind::Rejected,
        Code::InvalidTopic => ErrorKind::Invalid,
        Code::UnknownTopic
        | Code::UnknownPartition
        | Code::UnknownTopicOrPartition
        | Code::UnknownTopicId
        | Code::TopicAuthorizationFailed
        | Code::LeaderNotAvailable
        | Code::ISRInsufficient
        | Code::NotEnoughReplicas
        | Code::NotEnoughReplicasAfterAppend
        | Code::KafkaStorageError => ErrorKind::TopicUnavailable,
        Code::Authentication
        | Code::SaslAuthenticationFailed
        | Code::UnsupportedSASLMechanism
        | Code::IllegalSASLState
        | Code::ClusterAuthorizationFailed
        | Code::GroupAuthorizationFailed
        | Code::TransactionalIdAuthorizationFailed => ErrorKind::Unauthorized,
        Code::IllegalGeneration
        | Code::UnknownMemberId
        | Code::RebalanceInProgress
        | Code::AssignmentLost
        | Code::FencedInstanceId
        | Code::FencedMemberEpoch
        | Code::StaleMemberEpoch
        | Code::State => ErrorKind::Closed,
        Code::InvalidConfig
        | Code::InvalidGroupId
        | Code::InvalidSessionTimeout
        | Code::InconsistentGroupProtocol => ErrorKind::Misconfigured,
        // whatever else: the broker, the way to it, or this client's state; nothing that one message caused
        _ => ErrorKind::Unavailable,
    }
}

/// The error that the publisher reports of an event to which Kafka answers with this code. It is for tests of what a program does then. A
/// publisher of the test kit gives it for a topic, a key or one event.
///
/// ```
/// use omni_box_core::ErrorKind;
/// use omni_box_kafka::delivery_error;
/// use rdkafka::error::RDKafkaErrorCode;
///
/// // plan.on(Operation::Deliver).events(|event| event.topic() == "orders").answer_before(|| delivery_error(..))
/// assert_eq!(delivery_error(RDKafkaErrorCode::NotEnoughReplicas).kind(), ErrorKind::TopicUnavailable);
/// ```
pub fn delivery_error(code: Code) -> Error {
    classified("event was not delivered", KafkaError::MessageProduction(code))
}

/// An error of the kind its code has.
pub(crate) fn classified(what: &'static str, error: KafkaError) -> Error {
    let kind = match &error {
        KafkaError::ClientConfig(..) | KafkaError::ClientCreation(_) => ErrorKind::Misconfigured,
        KafkaError::Nul(_) => ErrorKind::Invalid,
        other => other.rdkafka_error_code().map_or(ErrorKind::Unavailable, kind),
    };
    if let KafkaError::ClientConfig(_, reason, name, _) = error {
        // librdkafka's own error repeats the value, which may be a password
        return Error::new(kind, format!("{what}: property {name} is not accepted: {reason}"));
    }
    Error::new(kind, what).with_source(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_the_class_that_says_what_is_done() {
        let check = |code, expected| assert_eq!(kind(code), expected, "{code:?}");
        check(Code::MessageSizeTooLarge, ErrorKind::TooLarge);
        check(Code::InvalidRecord, ErrorKind::Rejected);
        check(Code::InvalidDifferentRecord, ErrorKind::Unavailable);
        check(Code::UnknownTopicOrPartition, ErrorKind::TopicUnavailable);
        check(Code::TopicAuthorizationFailed, ErrorKind::TopicUnavailable);
        check(Code::NotEnoughReplicas, ErrorKind::TopicUnavailable);
        check(Code::SaslAuthenticationFailed, ErrorKind::Unauthorized);
        check(Code::PurgeQueue, ErrorKind::Unavailable);
        check(Code::Fatal, ErrorKind::Unavailable);
        check(Code::BrokerTransportFailure, ErrorKind::Unavailable);
        check(Code::UnknownMemberId, ErrorKind::Closed);
    }
}
